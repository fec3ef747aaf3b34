import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';

import type {
  AttachRequest,
  Devices,
  Explanation,
  History,
  KernelPreview,
  Offers,
  Pools,
  Processes,
  Problem,
  SessionRequest,
  Sessions,
  SessionView
} from './_wire';

const BASE = 'swangpu/api/v1';

/** What went wrong, said for the person. */
export class ApiError extends Error {
  constructor(
    readonly problem: Problem,
    readonly status: number
  ) {
    super(problem.detail);
  }
}

function isProblem(value: unknown): value is Problem {
  return typeof value === 'object' && value !== null && 'code' in value && 'detail' in value;
}

function made(code: string, detail: string, hint: string, status = 0): ApiError {
  return new ApiError({ type: 'about:blank', title: detail, status, code, detail, hint, params: {} }, status);
}

/** The calls of the HTTP API that the panel makes. */
export class Api {
  constructor(private readonly settings: ServerConnection.ISettings) {}

  offers(memoryBytes: number, durationS: number, path: string | null): Promise<Offers> {
    const query = {
      memory_bytes: String(memoryBytes),
      duration_s: String(durationS),
      kind: 'kernel',
      ...(path === null ? {} : { path })
    };
    return this.call('GET', `offers${URLExt.objectToQueryString(query)}`);
  }

  devices(): Promise<Devices> {
    return this.call('GET', 'devices');
  }

  processes(): Promise<Processes> {
    return this.call('GET', 'processes');
  }

  pools(): Promise<Pools> {
    return this.call('GET', 'pools');
  }

  sessions(): Promise<Sessions> {
    return this.call('GET', 'sessions');
  }

  preview(kernelId: string): Promise<KernelPreview> {
    return this.call('GET', `kernels/preview${URLExt.objectToQueryString({ kernel_id: kernelId })}`);
  }

  /** The same key again answers with the same session: a double click makes one. */
  request(body: SessionRequest, key: string): Promise<SessionView> {
    return this.call('POST', 'sessions', body, { 'Idempotency-Key': key });
  }

  claim(id: string): Promise<SessionView> {
    return this.act(id, 'claim');
  }

  attach(id: string, body: AttachRequest): Promise<SessionView> {
    return this.act(id, 'attach', body);
  }

  extend(id: string, durationS: number): Promise<SessionView> {
    return this.act(id, 'extend', { duration_s: durationS });
  }

  release(id: string): Promise<SessionView> {
    return this.call('DELETE', `sessions/${encodeURIComponent(id)}`);
  }

  resume(id: string): Promise<SessionView> {
    return this.act(id, 'resume');
  }

  undo(id: string): Promise<SessionView> {
    return this.act(id, 'undo');
  }

  explain(id: string): Promise<Explanation> {
    return this.call('GET', `sessions/${encodeURIComponent(id)}/explain`);
  }

  history(session: string, from: number, points: number): Promise<History> {
    const query = { session, from: String(from), points: String(points) };
    return this.call('GET', `history${URLExt.objectToQueryString(query)}`);
  }

  /** What a device, a MIG device or a session did between two times. */
  past(
    subject: { device: string } | { session: string },
    from: number,
    to: number,
    points: number,
    signal: AbortSignal
  ): Promise<History> {
    const query = { ...subject, from: String(from), to: String(to), points: String(points) };
    return this.call('GET', `history${URLExt.objectToQueryString(query)}`, undefined, undefined, signal);
  }

  streamUrl(topics: readonly string[]): string {
    const url = this.url(`stream${URLExt.objectToQueryString({ topics: topics.join(','), changes: 'true' })}`);
    const elsewhere = new URL(url, window.location.href).origin !== window.location.origin;
    // Cookies do not reach another origin; on our own the token stays out of addresses and logs.
    return elsewhere && this.settings.token ? `${url}&token=${encodeURIComponent(this.settings.token)}` : url;
  }

  /** What tells this server's streams from those of other servers in the same browser. */
  get scope(): string {
    return new URL(this.url(''), window.location.href).href;
  }

  private act(id: string, verb: string, body: object = {}): Promise<SessionView> {
    return this.call('POST', `sessions/${encodeURIComponent(id)}/${verb}`, body);
  }

  private url(path: string): string {
    return URLExt.join(this.settings.baseUrl, BASE, path);
  }

  private async call<T>(
    method: string,
    path: string,
    body?: object,
    headers?: Record<string, string>,
    signal?: AbortSignal
  ): Promise<T> {
    // Jupyter's "no-store" would add a time stamp to the query, which the API refuses as an unknown parameter.
    const init: RequestInit = { method, cache: 'no-cache', headers: { Accept: 'application/json', ...headers } };
    if (signal) {
      init.signal = signal;
    }
    if (body) {
      init.body = JSON.stringify(body);
      init.headers = { Accept: 'application/json', 'Content-Type': 'application/json', ...headers };
    }
    let response: Response;
    try {
      response = await ServerConnection.makeRequest(this.url(path), init, this.settings);
    } catch {
      throw made('no_answer', 'The Jupyter server does not answer.', 'Is it still running, and is the network there?');
    }
    const answer: unknown = await response.json().catch(() => null);
    if (!response.ok) {
      throw isProblem(answer)
        ? new ApiError(answer, response.status)
        : made('unavailable', `The server answered ${response.status}.`, 'Is swangpu enabled there?', response.status);
    }
    return answer as T;
  }
}
