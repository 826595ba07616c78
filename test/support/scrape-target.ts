// An HTTP server that plays a target: what it answers can be changed between scrapes, and it remembers who asked.
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { onTestFinished } from 'vitest';

export interface Answer {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array;
  /** Wait before the answer. */
  readonly delayMs?: number;
  /** Send this many bytes of zeros instead of a body, in pieces. */
  readonly endlessBytes?: number;
  /** Send a byte every so many milliseconds instead of a body, for ever. */
  readonly dripMs?: number;
  /** Close the connection instead. */
  readonly hangUp?: boolean;
}

export interface ScrapeTarget {
  /** host:port. */
  readonly address: string;
  readonly requests: http.IncomingMessage[];
  answer: Answer;
}

const TEXT = { 'content-type': 'text/plain; version=0.0.4' };

/** Listens on a free loopback port until the test ends. */
export async function startScrapeTarget(body: string): Promise<ScrapeTarget> {
  const requests: http.IncomingMessage[] = [];
  const target: { answer: Answer } = { answer: { body } };
  const server = http.createServer((request, response) => {
    requests.push(request);
    const { answer } = target;
    if (answer.hangUp) {
      request.socket.destroy();
      return;
    }
    setTimeout(() => {
      response.writeHead(answer.status ?? 200, answer.headers ?? TEXT);
      if (answer.endlessBytes !== undefined) sendZeros(response, answer.endlessBytes);
      else if (answer.dripMs !== undefined) drip(response, answer.dripMs);
      else response.end(answer.body ?? '');
    }, answer.delayMs ?? 0);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  const { port } = server.address() as AddressInfo;
  return Object.assign(target, { address: `127.0.0.1:${port}`, requests });
}

function drip(response: http.ServerResponse, everyMs: number): void {
  const timer = setInterval(() => response.write('#'), everyMs);
  response.once('close', () => clearInterval(timer));
}

function sendZeros(response: http.ServerResponse, bytes: number): void {
  const piece = Buffer.alloc(65_536);
  let sent = 0;
  const more = (): void => {
    while (sent < bytes && !response.destroyed) {
      sent += piece.length;
      if (!response.write(piece)) {
        response.once('drain', more);
        return;
      }
    }
    response.end();
  };
  more();
}
