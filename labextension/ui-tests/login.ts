import { request } from '@playwright/test';

import { baseURL, storageState, token } from './environment';

/** Log in once and keep the cookie: web sockets and event streams carry cookies, not headers. */
export default async function login(): Promise<void> {
  const context = await request.newContext({ baseURL });
  await context.get(`/lab?token=${token}`);
  await context.storageState({ path: storageState });
  await context.dispose();
}
