import galata from '@jupyterlab/galata/lib/playwright-config';
import type { PlaywrightTestConfig } from '@playwright/test';
import { join } from 'node:path';

import { baseURL, browserPath, chromium, home, results, root, servers, storageState, token, workers } from './environment';

const base = galata as PlaywrightTestConfig;

const config: PlaywrightTestConfig = {
  ...base,
  testDir: __dirname,
  outputDir: join(results, 'out'),
  globalSetup: join(__dirname, 'login.ts'),
  timeout: 120_000,
  expect: { timeout: 15_000 },
  retries: 0,
  workers,
  reporter: [['list'], [join(__dirname, 'reporter.ts')]],
  webServer: servers.map(({ command, home: cwd, baseURL: url }) => ({
    command,
    cwd,
    env: { HOME: cwd, PATH: [join(root, '.venv', 'bin'), process.env.PATH].join(':') },
    url: `${url}/api`,
    timeout: 120_000,
    reuseExistingServer: false,
    gracefulShutdown: { signal: 'SIGTERM' as const, timeout: 10_000 },
    stdout: 'ignore' as const,
    stderr: process.env.SWANGPU_UI_LOG ? ('pipe' as const) : ('ignore' as const)
  })),
  use: {
    ...base.use,
    baseURL,
    storageState,
    extraHTTPHeaders: { Authorization: `token ${token}` },
    viewport: { width: 1280, height: 900 },
    actionTimeout: 20_000,
    trace: 'off',
    video: 'off', // it would need a program that only Playwright's own browsers bring
    launchOptions: {
      ...(chromium ? { executablePath: chromium } : {}),
      env: { HOME: home, PATH: browserPath },
      args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run', '--disable-sync',
        '--disable-background-networking', '--disable-component-update']
    }
  }
};

export default config;
