import { request } from '@playwright/test';

import { servers, token } from './environment';

/** Log in once and keep the cookie: web sockets and event streams carry cookies, not headers. */
export default async function login(): Promise<void> {
  for (const { baseURL, storageState } of servers) {
    const context = await request.newContext({ baseURL });
    await context.get(`/lab?token=${token}`);
    await context.storageState({ path: storageState });
    await context.dispose();
  }
}
