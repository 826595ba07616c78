import { generateKeyPairSync, verify } from 'node:crypto';
import { mkdtempSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import net, { type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { certificate } from '../../../test/support/certificate.ts';
import { ManualClock } from '../../../test/support/fake-control-plane.ts';
import { loadConfig } from './config/load-config.ts';
import { HttpClient, readText } from './http-client.ts';
import { proxyEnvironment } from './proxy-environment.ts';
import { isExcepted } from './tunnel-agent.ts';

type Handler = (request: http.IncomingMessage, body: string) => readonly [number, string];

const SIGNAL = new AbortController().signal;
const newFolder = () => mkdtempSync(path.join(tmpdir(), 'tidemark-test-'));

/** A server that answers as the handler says; its URL. */
async function serve(
  handler: Handler,
  tls?: { readonly key: string; readonly cert: string },
): Promise<string> {
  const listener: http.RequestListener = (request, response) => {
    const pieces: Buffer[] = [];
    request.on('data', (piece: Buffer) => pieces.push(piece));
    request.on('end', () => {
      const [status, text] = handler(request, Buffer.concat(pieces).toString());
      response.writeHead(status).end(text);
    });
  };
  const server = tls === undefined ? http.createServer(listener) : https.createServer(tls, listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  return `${tls === undefined ? 'http' : 'https'}://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** A client as a scrape job with these settings has it. */
function clientOf(settings: string, clock = new ManualClock()): HttpClient {
  const yaml = `scrape_configs:\n  - job_name: a\n    ${settings}\n`;
  const client = new HttpClient(loadConfig(yaml, '/').scrapeConfigs[0]!.http, { clock });
  onTestFinished(() => client.close());
  return client;
}

async function get(client: HttpClient, url: string): Promise<string> {
  const response = await client.get(new URL(url), {}, SIGNAL);
  return `${response.statusCode} ${await readText(response, 1000)}`;
}

describe('OAuth 2', () => {
  const basic = (user: string, password: string) =>
    `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`;

  test('a token is asked for once, and again before it ends', async () => {
    const forms: string[] = [];
    const tokens = await serve((request, body) => {
      forms.push(`${request.headers.authorization} ${body}`);
      return [
        200,
        JSON.stringify({ access_token: `t${forms.length}`, token_type: 'bearer', expires_in: 60 }),
      ];
    });
    const target = await serve((request) => [200, request.headers.authorization ?? 'nothing']);
    const clock = new ManualClock();
    const client = clientOf(
      `oauth2: {client_id: me, client_secret: hush, token_url: "${tokens}", scopes: [a, b], endpoint_params: {x: y}}`,
      clock,
    );
    expect(await Promise.all([get(client, target), get(client, target)])).toEqual([
      '200 Bearer t1',
      '200 Bearer t1',
    ]);
    await clock.advance(49_000);
    expect(await get(client, target)).toBe('200 Bearer t1');
    await clock.advance(2_000);
    expect(await get(client, target)).toBe('200 Bearer t2');
    const form = 'grant_type=client_credentials&scope=a+b&x=y';
    expect(forms).toEqual([`${basic('me', 'hush')} ${form}`, `${basic('me', 'hush')} ${form}`]);
  });

  test('a server that wants the secret in the form gets it there', async () => {
    let asked = 0;
    const tokens = await serve((request, body) => {
      asked++;
      if (request.headers.authorization !== undefined) return [401, 'no'];
      return [200, JSON.stringify({ access_token: new URLSearchParams(body).get('client_secret') })];
    });
    const target = await serve((request) => [
      request.headers.authorization === 'Bearer two' ? 200 : 401,
      request.headers.authorization ?? '',
    ]);
    const file = path.join(newFolder(), 'secret');
    writeFileSync(file, 'one\n');
    const client = clientOf(`oauth2: {client_id: me, client_secret_file: "${file}", token_url: "${tokens}"}`);
    expect(await get(client, target)).toBe('401 Bearer one');
    writeFileSync(file, 'two\n');
    expect(await get(client, target)).toBe('200 Bearer two');
    expect(asked).toBe(3);
  });

  test('jwt-bearer: what the client signs is exchanged for a token', async () => {
    const forms: URLSearchParams[] = [];
    const tokens = await serve((request, body) => {
      expect(request.headers.authorization).toBeUndefined();
      forms.push(new URLSearchParams(body));
      return [200, JSON.stringify({ access_token: 'signed-for', token_type: 'Bearer', expires_in: 60 })];
    });
    const target = await serve((request) => [200, request.headers.authorization ?? 'nothing']);
    const pair = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const file = path.join(newFolder(), 'key.pem');
    writeFileSync(file, pair.privateKey.export({ type: 'pkcs8', format: 'pem' }));
    const client = clientOf(
      `oauth2: {grant_type: "urn:ietf:params:oauth:grant-type:jwt-bearer", client_id: me, client_certificate_key_file: "${file}", client_certificate_key_id: k1, signature_algorithm: RS384, audience: them, claims: {team: [a, 7, true], deep: {x: "1"}}, scopes: [a, b], endpoint_params: {x: y}, token_url: "${tokens}"}`,
    );
    expect(await get(client, target)).toBe('200 Bearer signed-for');
    const form = forms[0]!;
    expect([form.get('grant_type'), form.get('scope'), form.get('x')]).toEqual([
      'urn:ietf:params:oauth:grant-type:jwt-bearer',
      'a b',
      'y',
    ]);
    const [header, payload, signature] = form.get('assertion')!.split('.') as [string, string, string];
    const isSigned = verify(
      'sha384',
      Buffer.from(`${header}.${payload}`),
      pair.publicKey,
      Buffer.from(signature, 'base64url'),
    );
    expect(isSigned).toBe(true);
    const read = (text: string) => JSON.parse(Buffer.from(text, 'base64url').toString());
    expect(read(header)).toEqual({ alg: 'RS384', typ: 'JWT', kid: 'k1' });
    const claims = read(payload);
    expect(claims).toMatchObject({
      iss: 'me',
      sub: 'me',
      aud: 'them',
      scope: 'a b',
      team: ['a', 7, true],
      deep: { x: '1' },
    });
    expect(claims.exp - claims.iat).toBe(600);
  });

  test('jwt-bearer with a key that is none says so', async () => {
    const client = clientOf(
      `oauth2: {grant_type: "urn:ietf:params:oauth:grant-type:jwt-bearer", client_id: me, client_certificate_key: nonsense, token_url: "http://127.0.0.1:1/t"}`,
    );
    await expect(get(client, 'http://127.0.0.1:1')).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringMatching(
        /^oauth2: http:\/\/127\.0\.0\.1:1\/t: the client's key is no private key in PEM: /,
      ),
    });
    expect(() =>
      clientOf(
        `oauth2: {grant_type: "urn:ietf:params:oauth:grant-type:jwt-bearer", client_id: me, signature_algorithm: HS256, token_url: "http://x"}`,
      ),
    ).toThrow(/"HS256" is none of RS256, RS384 and RS512/);
  });

  test.each<[string, readonly [number, string], string]>([
    ['refuses', [400, '{"error":"invalid_client"}'], 'HTTP status 400: {"error":"invalid_client"}'],
    ['talks nonsense', [200, 'hello'], 'the answer is not JSON'],
    ['gives nothing', [200, '{}'], 'the answer has no access_token'],
    ['says too much', [200, ' '.repeat(2 ** 20 + 1)], 'the answer is longer than 1048576 bytes'],
  ])('a token server that %s', async (_name, answer, reason) => {
    const tokens = await serve(() => answer);
    const client = clientOf(`oauth2: {client_id: me, client_secret: hush, token_url: "${tokens}/t"}`);
    await expect(get(client, 'http://127.0.0.1:1')).rejects.toMatchObject({
      code: 'unavailable',
      message: `oauth2: ${tokens}/t: ${reason}`,
    });
  });
});

describe('a proxy', () => {
  /** Forwards nothing: it answers itself, and tunnels. */
  async function proxy(): Promise<{ readonly url: string; readonly seen: string[] }> {
    const seen: string[] = [];
    const server = http.createServer((request, response) => {
      seen.push(`${request.url} ${request.headers['proxy-authorization'] ?? ''}`.trim());
      response.end('by proxy');
    });
    server.on('connect', (request, socket: net.Socket) => {
      const own = request.headers['x-team'];
      seen.push(`CONNECT ${request.url}${own === undefined ? '' : ` ${own.toString()}`}`);
      if (own === 'nobody') {
        socket.end('HTTP/1.1 407 Proxy Authentication Required\r\n\r\n');
        return;
      }
      const [host, port] = request.url!.split(':');
      const target = net.connect(Number(port), host, () => {
        socket.write('HTTP/1.1 200 OK\r\n\r\n');
        target.pipe(socket).pipe(target);
      });
      target.on('error', () => socket.destroy());
      socket.on('error', () => target.destroy());
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => {
      server.close();
      server.closeAllConnections();
    });
    return { url: `127.0.0.1:${(server.address() as AddressInfo).port}`, seen };
  }

  test('gets requests for http, with its own credentials', async () => {
    const { url, seen } = await proxy();
    const client = clientOf(`proxy_url: "http://me:hush@${url}"`);
    expect(await get(client, 'http://target.invalid/metrics')).toBe('200 by proxy');
    expect(seen).toEqual(['http://target.invalid/metrics Basic bWU6aHVzaA==']);
  });

  test('is a tunnel for https, whose certificate is still checked', async () => {
    const { url, seen } = await proxy();
    const own = certificate(newFolder());
    const target = await serve(() => [200, 'secure'], own);
    const trusting = clientOf(`proxy_url: "http://${url}"\n    tls_config: {ca_file: "${own.certFile}"}`);
    expect(await get(trusting, target)).toBe('200 secure');
    expect(seen).toEqual([`CONNECT ${new URL(target).host}`]);
    await expect(get(clientOf(`proxy_url: "http://${url}"`), target)).rejects.toThrow(
      'self-signed certificate',
    );
  });

  test('gets proxy_connect_header with each tunnel, and with nothing else', async () => {
    const { url, seen } = await proxy();
    const own = certificate(newFolder());
    const headers: (string | undefined)[] = [];
    const target = await serve((request) => {
      headers.push(request.headers['x-team'] as string | undefined);
      return [200, 'secure'];
    }, own);
    const settings = (team: string, more = ''): string =>
      `proxy_url: "http://me:hush@${url}"\n    proxy_connect_header: {X-Team: [${team}]}\n    tls_config: {ca_file: "${own.certFile}"}${more}`;
    const client = clientOf(settings('shop, "1"'));
    expect(await get(client, target)).toBe('200 secure');
    expect(await get(client, 'http://target.invalid/x')).toBe('200 by proxy');
    const tunnel = `CONNECT ${new URL(target).host}`;
    expect(seen).toEqual([`${tunnel} shop, 1`, 'http://target.invalid/x Basic bWU6aHVzaA==']);
    expect(headers).toEqual([undefined]);
    // The name in the certificate is checked through the tunnel, too.
    await expect(
      get(clientOf(settings('shop', '\n    no_proxy: elsewhere')), target.replace('127.0.0.1', 'localhost')),
    ).rejects.toThrow('altnames');
    await expect(get(clientOf(settings('nobody')), target)).rejects.toThrow(
      `proxy ${url} refuses a tunnel to ${new URL(target).host}: 407 Proxy Authentication Required`,
    );
    const before = seen.length;
    expect(await get(clientOf(settings('shop', '\n    no_proxy: 127.0.0.1')), target)).toBe('200 secure');
    expect(seen.length).toBe(before);
  });

  test.each([
    ['example.com', 443, '.example.com,example.com', true],
    ['a.example.com', 443, 'example.com,.example.com', true],
    ['a.example.com', 443, '*.example.com', true],
    ['badexample.com', 443, 'example.com,.example.com', false],
    ['10.2.0.1', 443, '10.0.0.0-10.127.255.255', true],
    ['10.200.0.1', 443, '10.0.0.0-10.127.255.255', false],
    ['::1', 443, '[::1]', true],
    ['x', 8443, 'x:443', false],
    ['anything', 1, '*', true],
    ['anything', 1, '', false],
  ])('%s:%i is excepted by %s: %s', (host, port, list, expected) => {
    expect(isExcepted(host, port, list)).toBe(expected);
  });

  test('is not asked for what no_proxy names', async () => {
    const { url, seen } = await proxy();
    const target = await serve(() => [200, 'direct']);
    for (const noProxy of ['127.0.0.0/8', 'example.com', '127.0.0.1'])
      expect(await get(clientOf(`proxy_url: "http://${url}"\n    no_proxy: "${noProxy}"`), target)).toBe(
        '200 direct',
      );
    expect(seen).toEqual([]);
  });

  test('of the environment, and what stands for networks and domains', () => {
    const environment = {
      HTTP_PROXY: 'http://a',
      https_proxy: 'http://b',
      NO_PROXY: 'x.org, 10.1.2.3/9,.y.org,*',
    };
    const { HTTP_PROXY, HTTPS_PROXY, NO_PROXY } = proxyEnvironment({ kind: 'environment' }, environment)!;
    expect([HTTP_PROXY, HTTPS_PROXY]).toEqual(['http://a', 'http://b']);
    expect(NO_PROXY!.split(',')).toEqual(
      expect.arrayContaining(['x.org', '.x.org', '10.0.0.0-10.127.255.255', '.y.org', '*', 'localhost']),
    );
    expect(proxyEnvironment(undefined, environment)).toBeUndefined();
  });
});
