// The page's files: read once at start, TypeScript stripped to JavaScript, served from memory from a fixed table. Their
// path carries a hash of the content, so browsers keep them for good and never see a mixture of versions.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createRequire, stripTypeScriptTypes } from 'node:module';
import { gzipSync } from 'node:zlib';
import { acceptsGzip, type Exchange, varyByEncoding } from './exchange.ts';
import type { Route } from './route.ts';

const JAVASCRIPT = 'text/javascript; charset=utf-8';
const CSS = 'text/css; charset=utf-8';
const SVG = 'image/svg+xml';
/** Scripts of web/, stripped. They import one another by these names. */
const SCRIPTS = [
  'app.ts',
  'api.ts',
  'cluster-panel.ts',
  'completion.ts',
  'dom.ts',
  'graph.ts',
  'query-panel.ts',
  'rate-panel.ts',
];
const MORE_SCRIPTS = [
  'state.ts',
  'table.ts',
  'targets-panel.ts',
  'write-panel.ts',
  'format.ts',
  'palette.ts',
  'repeat.ts',
];

/** Only what the server itself serves; no inline scripts or styles; not to be framed by others. */
export const CONTENT_SECURITY_POLICY =
  "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

interface Asset {
  readonly contentType: string;
  readonly body: Buffer;
  readonly gzipped: Buffer;
  readonly etag: string;
  readonly cacheControl: string;
}

/** Reads the page; throws when a file of it is missing, so that a broken install is seen at start. */
export function pageRoutes(): Route[] {
  const sources = readSources();
  const hash = createHash('sha256');
  for (const [name, { body }] of sources) hash.update(name).update('\0').update(body);
  const version = hash.digest('hex').slice(0, 16);
  const html = readWeb('index.html').toString('utf8').replaceAll('{{assets}}', `assets/${version}`);
  const page = createAsset('text/html; charset=utf-8', Buffer.from(html), 'no-cache');
  const routes = ['/', '/query', '/graph', '/targets'].map((template) =>
    assetRoute(template, template, page),
  );
  for (const [name, { contentType, body }] of sources) {
    const asset = createAsset(contentType, body, 'public, max-age=31536000, immutable');
    routes.push(assetRoute(`/assets/${version}/${name}`, '/assets', asset));
  }
  return routes;
}

function readWeb(name: string): Buffer {
  return readFileSync(new URL(`../web/${name}`, import.meta.url));
}

function readSources(): Map<string, { contentType: string; body: Buffer }> {
  const require = createRequire(import.meta.url);
  const sources = new Map<string, { contentType: string; body: Buffer }>();
  for (const name of [...SCRIPTS, ...MORE_SCRIPTS]) {
    sources.set(name, {
      contentType: JAVASCRIPT,
      body: Buffer.from(stripTypes(readWeb(name).toString('utf8'))),
    });
  }
  sources.set('style.css', { contentType: CSS, body: readWeb('style.css') });
  sources.set('icon.svg', { contentType: SVG, body: readWeb('icon.svg') });
  for (const [name, file] of [
    ['uplot.js', 'uplot/dist/uPlot.iife.min.js'],
    ['uplot.css', 'uplot/dist/uPlot.min.css'],
  ] as const) {
    const contentType = name.endsWith('.css') ? CSS : JAVASCRIPT;
    sources.set(name, { contentType, body: readFileSync(require.resolve(file)) });
  }
  return sources;
}

/** Node warns once that stripping from code is experimental; running TypeScript is not, and an operator can do nothing. */
function stripTypes(source: string): string {
  const emitWarning: unknown = Reflect.get(process, 'emitWarning');
  process.emitWarning = () => undefined;
  try {
    return stripTypeScriptTypes(source);
  } finally {
    Reflect.set(process, 'emitWarning', emitWarning);
  }
}

function createAsset(contentType: string, body: Buffer, cacheControl: string): Asset {
  const etag = `"${createHash('sha256').update(body).digest('base64url').slice(0, 22)}"`;
  return { contentType, body, gzipped: gzipSync(body, { level: 9 }), etag, cacheControl };
}

function assetRoute(path: string, metricsRoute: string, asset: Asset): Route {
  return {
    template: path,
    metricsRoute,
    methods: ['GET', 'HEAD'],
    kind: 'plain',
    handle: async (exchange) => sendAsset(exchange, asset),
  };
}

function sendAsset({ request, response }: Exchange, asset: Asset): void {
  response.setHeader('Cache-Control', asset.cacheControl);
  response.setHeader('ETag', asset.etag);
  response.setHeader('Content-Security-Policy', CONTENT_SECURITY_POLICY);
  response.setHeader('X-Content-Type-Options', 'nosniff');
  response.setHeader('Referrer-Policy', 'same-origin');
  varyByEncoding(response);
  if (isCurrent(request.headers['if-none-match'], asset.etag)) {
    response.statusCode = 304;
    response.end();
    return;
  }
  const compressed = acceptsGzip(request);
  const body = compressed ? asset.gzipped : asset.body;
  if (compressed) response.setHeader('Content-Encoding', 'gzip');
  response.setHeader('Content-Type', asset.contentType);
  response.setHeader('Content-Length', body.length);
  response.end(request.method === 'HEAD' ? undefined : body);
}

function isCurrent(ifNoneMatch: string | undefined, etag: string): boolean {
  if (ifNoneMatch === undefined) return false;
  return ifNoneMatch.split(',').some((part) => part.trim().replace(/^W\//, '') === etag);
}
