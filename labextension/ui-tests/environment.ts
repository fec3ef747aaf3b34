import { type ChildProcess, execFileSync } from 'node:child_process';
import { once as onceOf } from 'node:events';
import { existsSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

export const root = resolve(__dirname, '..', '..');
export const results = join(__dirname, 'test-results');

/** Playwright's workers load the configuration again: what the first process decided reaches them by the environment. */
function once(name: string, decide: () => string): string {
  return (process.env[name] ??= decide());
}

const listen = `const s = require('net').createServer().listen(0, '127.0.0.1', () => {
  process.stdout.write(String(s.address().port)); s.close(); });`;

export const freePort = (): string => execFileSync(process.execPath, ['-e', listen]).toString().trim();

export const token = once('SWANGPU_UI_TOKEN', () => 'ui-tests');

const usualPlaces = [
  '/usr/bin/chromium',
  '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome',
  '/usr/bin/google-chrome-stable',
  '/Applications/Chromium.app/Contents/MacOS/Chromium',
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome'
];

/** The installed Chromium; undefined leaves the choice to Playwright. */
export const chromium = process.env.SWANGPU_CHROMIUM ?? usualPlaces.find(place => existsSync(place));

/** Debian's launcher script needs grep and sed, whatever the caller's PATH. */
export const browserPath = [process.env.PATH, '/usr/bin', '/bin'].filter(Boolean).join(':');

const whereGalataIs = 'import jupyterlab.galata as g; print(g.__path__[0])';

const helpers = once('SWANGPU_UI_HELPERS', () =>
  execFileSync(join(root, '.venv', 'bin', 'python'), ['-c', whereGalataIs]).toString().trim()
);

/** What Galata needs of a server. */
export const forGalata = ['--LabApp.expose_app_in_browser=True', `--LabServerApp.extra_labextensions_path=${helpers}`];

/** The demo as a person starts it, with what Galata needs, in a new home: nothing of the person's is read or written. */
export interface Server {
  command: string;
  home: string;
  baseURL: string;
  storageState: string;
}

function server(index: number): Server {
  const port = once(`SWANGPU_UI_PORT_${index}`, freePort);
  const swangpu = join(root, '.venv', 'bin', 'swangpu');
  return {
    command: [swangpu, 'demo', '--no-browser', '--port', port, '--token', token, ...forGalata]
      .map(word => `"${word}"`)
      .join(' '),
    home: once(`SWANGPU_UI_HOME_${index}`, () => mkdtempSync(join(tmpdir(), 'swangpu-ui-'))),
    baseURL: `http://127.0.0.1:${port}`,
    storageState: join(results, `login-${index}.json`)
  };
}

/** So many files of tests run side by side, each on a server of its own: one person's sessions are on one server. */
export const workers = Number(process.env.SWANGPU_UI_WORKERS ?? 2);
export const servers = Array.from({ length: workers }, (_, index) => server(index));
/** The server of the tests in this process. */
export const { baseURL, home, storageState } = server(Number(process.env.TEST_PARALLEL_INDEX ?? 0));

/** Wait until a server that was asked to stop has ended; one that does not is killed, as a site does after a while. */
export async function ended(server: ChildProcess): Promise<void> {
  if (server.exitCode !== null || server.signalCode !== null) {
    return;
  }
  const gone = onceOf(server, 'exit');
  const patience = setTimeout(() => {
    console.error(`a server (process ${server.pid}) did not end within 20 s of being asked to: killed`);
    server.kill('SIGKILL');
  }, 20_000);
  await gone;
  clearTimeout(patience);
}
