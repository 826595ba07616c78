// Target groups from a URL: JSON of the same shape as a target file.
import { AppError } from '../core/errors.ts';
import { Labels } from '../model/labels.ts';
import type { HttpSdConfig, TargetGroup } from '../runtime/config/discovery-config.ts';
import { HttpClient, readText } from '../runtime/http-client.ts';
import type { GroupSource, GroupSourceDeps } from './group-source.ts';
import { createRefreshed } from './refreshed-discovery.ts';

/** Label that every target of a URL carries during relabelling. */
const URL_LABEL = '__meta_url';
/** A hundred thousand targets with labels are about 20 MB. */
const BODY_BYTES_MAX = 64 * 1024 * 1024;
const CONTENT_TYPE = /^application\/json(?:;\s*charset=("utf-8"|utf-8))?$/i;

export function createHttpDiscovery(config: HttpSdConfig, deps: GroupSourceDeps): GroupSource {
  const client = new HttpClient(config.http, deps);
  let text = '';
  return createRefreshed(
    {
      intervalMs: config.refreshIntervalMs,
      refresh: async (before, signal) => {
        const next = await fetchText(config, client, signal);
        if (next === text) return { groups: before, problems: [] };
        const groups = parseGroups(next, config.url);
        text = next;
        return { groups, problems: [] };
      },
      close: () => client.close(),
    },
    deps,
  );
}

async function fetchText(config: HttpSdConfig, client: HttpClient, signal: AbortSignal): Promise<string> {
  const ends = AbortSignal.any([signal, AbortSignal.timeout(config.refreshIntervalMs)]);
  const headers = {
    accept: 'application/json',
    'user-agent': 'Tidemark',
    'x-prometheus-refresh-interval-seconds': String(config.refreshIntervalMs / 1000),
  };
  try {
    const response = await client.get(new URL(config.url), headers, ends);
    const type = (response.headers['content-type'] ?? '').trim();
    if (response.statusCode !== 200 || !CONTENT_TYPE.test(type)) {
      response.destroy();
      const what =
        response.statusCode === 200
          ? `unsupported content type ${JSON.stringify(type)}; application/json is expected`
          : `server returned HTTP status ${response.statusCode} ${response.statusMessage ?? ''}`.trimEnd();
      throw new AppError('unavailable', what);
    }
    return await readText(response, BODY_BYTES_MAX);
  } catch (caught) {
    if (signal.aborted) throw caught;
    const reason = ends.aborted
      ? `no complete answer within ${config.refreshIntervalMs / 1000}s (refresh_interval)`
      : caught instanceof Error
        ? caught.message
        : String(caught);
    throw new AppError('unavailable', `http_sd ${shown(config.url)}: ${reason}`, { cause: caught });
  }
}

/** @throws AppError `bad_data` with the place of the first thing that is not a list of groups. */
export function parseGroups(text: string, url: string): readonly TargetGroup[] {
  const fail = (what: string): AppError => new AppError('bad_data', `http_sd ${shown(url)}: ${what}`);
  let list: unknown;
  try {
    list = JSON.parse(text);
  } catch (caught) {
    throw fail(`malformed JSON: ${caught instanceof Error ? caught.message : String(caught)}`);
  }
  if (list === null) return [];
  if (!Array.isArray(list)) throw fail('a list of groups is expected');
  return list.map((group: unknown, i) => {
    if (typeof group !== 'object' || group === null || Array.isArray(group))
      throw fail(`[${i}] is not a group with targets and labels`);
    const entries = new Map<string, unknown>(Object.entries(group));
    const unknown = [...entries.keys()].find((key) => key !== 'targets' && key !== 'labels');
    if (unknown !== undefined) throw fail(`[${i}]: unknown key ${JSON.stringify(unknown)}`);
    const targets: unknown = entries.get('targets') ?? [];
    if (!Array.isArray(targets) || !targets.every((target) => typeof target === 'string'))
      throw fail(`[${i}].targets is not a list of strings`);
    const labels: unknown = entries.get('labels') ?? {};
    if (typeof labels !== 'object' || labels === null || Array.isArray(labels))
      throw fail(`[${i}].labels is not an object`);
    const pairs: [string, string][] = Object.entries(labels).map(([name, value]) => {
      if (name === '' || !name.isWellFormed() || typeof value !== 'string')
        throw fail(`[${i}].labels: ${JSON.stringify(name)} is not a label name with a string`);
      return [name, value];
    });
    return { targets, labels: Labels.from([...pairs, [URL_LABEL, url]]), source: `${url}:${i}` };
  });
}

/** A password in the URL is nobody's business. */
function shown(url: string): string {
  const parsed = new URL(url);
  if (parsed.password !== '') parsed.password = 'xxxxx';
  return parsed.href;
}
