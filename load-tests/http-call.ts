// One HTTP call of a load test over connections that are kept: status and size of the answer, never an exception.
import { type Agent, request } from 'node:http';

export interface Answer {
  /** `204`, or the code of a network error: `ECONNREFUSED`. */
  readonly outcome: string;
  readonly ok: boolean;
  readonly bodyBytes: number;
  /** The start of the body, for the message when it failed. */
  readonly text: string;
}

const TEXT_BYTES_MAX = 4096;

/** Sends a request and reads the answer to its end; gives up after `timeoutMs`. */
export function call(
  url: URL,
  options: {
    readonly agent: Agent;
    readonly method: 'GET' | 'POST';
    readonly headers?: Readonly<Record<string, string>>;
    readonly body?: Uint8Array;
    readonly timeoutMs: number;
  },
): Promise<Answer> {
  return new Promise((resolve) => {
    const fail = (error: Error & { code?: string }): void =>
      resolve({ outcome: error.code ?? error.name, ok: false, bodyBytes: 0, text: error.message });
    const outgoing = request(
      url,
      {
        agent: options.agent,
        method: options.method,
        headers: { ...options.headers, 'content-length': options.body?.length ?? 0 },
        signal: AbortSignal.timeout(options.timeoutMs),
      },
      (response) => {
        let bodyBytes = 0;
        let text = '';
        response.on('data', (piece: Buffer) => {
          bodyBytes += piece.length;
          if (text.length < TEXT_BYTES_MAX) text += piece.toString('latin1', 0, TEXT_BYTES_MAX);
        });
        response.on('error', fail);
        response.on('end', () => {
          const status = response.statusCode ?? 0;
          resolve({ outcome: String(status), ok: status >= 200 && status < 300, bodyBytes, text });
        });
      },
    );
    outgoing.on('error', fail);
    outgoing.end(options.body);
  });
}
