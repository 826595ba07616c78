// What Grafana's Prometheus data source sends (health check, query editor, variables, Explore), to a real gateway before a
// real querier. Source of the calls: grafana/grafana, pkg/promlib/healthcheck.go and packages/grafana-prometheus.
import { Registry } from 'prom-client';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { systemClock } from '../../services/lib/core/clock.ts';
import { Labels } from '../../services/lib/model/labels.ts';
import { createSilentLogger } from '../../services/lib/runtime/logger.ts';
import { createQuerier } from '../../services/querier/service.ts';
import { createFakeCluster, regularSamples } from '../support/fake-cluster.ts';
import { type GatewayRig, startGateway } from '../support/gateway-rig.ts';

let rig: GatewayRig;

beforeEach(async () => {
  const series = [
    ['node_cpu_seconds_total', 'node', 'host-a:9100'],
    ['node_cpu_seconds_total', 'node', 'host-b:9100'],
    ['node_load1', 'node', 'host-a:9100'],
    ['up', 'tidemark.io/app', 'host-c:9090'],
  ].map(([name, job, instance]) => ({
    labels: Labels.from([
      ['__name__', name!],
      ['instance', instance!],
      [name === 'up' ? 'app.kubernetes.io/name' : 'job', job!],
    ]),
    samples: regularSamples(0, 15_000, 241, (i) => i * 15),
  }));
  const metadata = [{ metric: 'node_load1', type: 'gauge', help: '1m load average.', unit: '' }];
  const querier = createQuerier(
    {},
    {
      cluster: createFakeCluster({ ingesters: [{ instance: 'i', series, metadata }] }),
      clock: systemClock,
      logger: createSilentLogger(),
      registry: new Registry(),
    },
  );
  rig = await startGateway({ querier: querier.handlers });
});

afterEach(() => rig.close());

/** Grafana's back end posts forms; its proxy falls back to GET on 405. */
async function post(path: string, form: Readonly<Record<string, string>>) {
  const response = await fetch(`${rig.url}/api/v1/${path}`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/x-www-form-urlencoded' },
    body: new URLSearchParams(form).toString(),
  });
  return answerOf(response);
}

const get = async (path: string, parameters: Readonly<Record<string, string>> = {}) =>
  answerOf(await fetch(`${rig.url}/api/v1/${path}?${new URLSearchParams(parameters).toString()}`));

async function answerOf(response: Response) {
  expect(response.headers.get('content-type')).toBe('application/json');
  return { httpStatus: response.status, ...((await response.json()) as object) };
}

const RANGE = { start: '0', end: '3600' };
const success = (data: unknown) => ({ httpStatus: 200, status: 'success', data });

test('the health check: 1+1 at four seconds by form and by query string, then the build', async () => {
  const two = success({ resultType: 'scalar', result: [4, '2'] });
  expect(await post('query', { query: '1+1', time: '4' })).toEqual(two);
  expect(await get('query', { query: '1+1', time: '4' })).toEqual(two);
  const build = (await get('status/buildinfo')) as unknown as {
    data: { readonly version: string; readonly features?: object };
  };
  expect(build).toMatchObject({ httpStatus: 200, status: 'success' });
  // Grafana compares it with Prometheus' releases, and takes a non-empty `features` for Mimir.
  expect(build.data.version).toMatch(/^[23]\.\d+\.\d+$/);
  expect(build.data.features ?? {}).toEqual({});
});

test('the metric browser: labels and series with a limit, by form', async () => {
  expect(await post('labels', { ...RANGE, limit: '40000' })).toEqual(
    success(['__name__', 'app.kubernetes.io/name', 'instance', 'job']),
  );
  expect(await post('labels', { ...RANGE, limit: '2', 'match[]': 'node_load1' })).toEqual({
    ...success(['__name__', 'instance']),
    warnings: ['results truncated due to limit'],
  });
  expect(await post('series', { ...RANGE, limit: '40000', 'match[]': 'node_load1' })).toEqual(
    success([{ __name__: 'node_load1', instance: 'host-a:9100', job: 'node' }]),
  );
});

test('completion: values of a label by a regular expression, also of names that do not fit a path', async () => {
  const match = { 'match[]': '{__name__=~".*cpu.*"}' };
  expect(await get('label/__name__/values', { ...RANGE, ...match, limit: '1000' })).toEqual(
    success(['node_cpu_seconds_total']),
  );
  expect(await get('label/instance/values', { ...RANGE, 'match[]': '{job=~"node|other"}' })).toEqual(
    success(['host-a:9100', 'host-b:9100']),
  );
  const utf8 = success(['tidemark.io/app']);
  expect(await get('label/U__app_2e_kubernetes_2e_io_2f_name/values', RANGE)).toEqual(utf8);
  expect(await get('label/app.kubernetes.io%2Fname/values', RANGE)).toEqual(utf8);
  expect(await get('metadata', { limit: '40000' })).toEqual(
    success({ node_load1: [{ type: 'gauge', help: '1m load average.', unit: '' }] }),
  );
});

test('a panel: a range with a step in float seconds, filtered by a variable of several escaped values', async () => {
  const query =
    'sum by (instance) (rate(node_cpu_seconds_total{instance=~"host-a:9100|host-b\\\\.x:1"}[5m]))';
  // Twenty samples of (t-5m, t], 285 s apart, extrapolated by the one interval at the start: as Prometheus rounds it.
  const value = String(285 * (300 / 285 / 300));
  const form = { query, start: '600.000', end: '630', step: '15.000' };
  expect(await post('query_range', form)).toEqual(
    success({
      resultType: 'matrix',
      result: [
        {
          metric: { instance: 'host-a:9100' },
          values: [
            [600, value],
            [615, value],
            [630, value],
          ],
        },
      ],
    }),
  );
});

test('a broken query names its place, and an unknown endpoint is plainly not there', async () => {
  expect(await post('query', { query: 'sum(', time: '4' })).toEqual({
    httpStatus: 400,
    status: 'error',
    errorType: 'bad_data',
    error: 'invalid parameter "query": 1:5: parse error: unclosed left parenthesis',
  });
  expect((await fetch(`${rig.url}/api/v1/nothing`)).status).toBe(404);
  // What a panel asks beside its query, when exemplars are on.
  const exemplars = await fetch(`${rig.url}/api/v1/query_exemplars?query=up&start=0&end=1`);
  expect(await exemplars.json()).toEqual({ status: 'success', data: [] });
});
