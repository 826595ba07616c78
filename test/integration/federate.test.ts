// /federate of a real gateway before a real querier: what Prometheus' own web/federate.go sends for the same series.
import { Registry } from 'prom-client';
import { expect, onTestFinished, test } from 'vitest';
import { systemClock } from '../../services/lib/core/clock.ts';
import { AppError } from '../../services/lib/core/errors.ts';
import { Labels } from '../../services/lib/model/labels.ts';
import { createSilentLogger } from '../../services/lib/runtime/logger.ts';
import { createQuerier } from '../../services/querier/service.ts';
import { createFakeCluster, type FakeNode, type FakeSeries } from '../support/fake-cluster.ts';
import { startGateway } from '../support/gateway-rig.ts';

const nowMs = Date.now();
const before = (seconds: number) => nowMs - seconds * 1000;

function series(labels: Readonly<Record<string, string>>, ...samples: FakeSeries['samples']): FakeSeries {
  return { labels: Labels.from(Object.entries(labels)), samples };
}

async function start(node: Partial<FakeNode>, external: readonly (readonly [string, string])[] = []) {
  const querier = createQuerier(
    {},
    {
      cluster: createFakeCluster({ ingesters: [{ instance: 'i', series: [], ...node }] }),
      clock: systemClock,
      logger: createSilentLogger(),
      registry: new Registry(),
    },
  );
  const rig = await startGateway({ querier: querier.handlers }, {}, { externalLabels: () => external });
  onTestFinished(() => rig.close());
  return async (selectors: readonly string[], accept = 'text/plain') => {
    const parameters = new URLSearchParams(selectors.map((text): [string, string] => ['match[]', text]));
    const response = await fetch(`${rig.url}/federate?${parameters.toString()}`, { headers: { accept } });
    return {
      status: response.status,
      type: response.headers.get('content-type'),
      text: await response.text(),
    };
  };
}

test('the latest sample in the lookback with its own time, stale ones dropped, sorted by name', async () => {
  const federate = await start({
    series: [
      series({ __name__: 'b', job: 'x' }, [before(90), 1], [before(60), 2.5]),
      series({ __name__: 'a', instance: 'host:1', job: 'y' }, [before(299), 3]),
      series({ __name__: 'a', instance: 'host:2', job: 'y' }, [before(400), 4]),
      series({ __name__: 'a', instance: 'host:3', job: 'y' }, [before(60), 5], [before(30), 'stale']),
      series({ __name__: 'a', job: 'q"\\\n' }, [before(1), Number.POSITIVE_INFINITY]),
      series({ __name__: 'other', job: 'z' }, [before(1), 1]),
    ],
  });
  expect(await federate(['{job=~"x|y"}', '{__name__=~"a|b"}'])).toEqual({
    status: 200,
    type: 'text/plain; version=0.0.4; charset=utf-8',
    text: `# TYPE a untyped
a{instance="host:1",job="y"} 3 ${before(299)}
a{job="q\\"\\\\\\n",instance=""} +Inf ${before(1)}
# TYPE b untyped
b{job="x",instance=""} 2.5 ${before(60)}
`,
  });
  expect(await federate(['nothing'])).toMatchObject({ status: 200, text: '' });
  expect(await federate([])).toMatchObject({ status: 200, text: '' });
});

test('external labels are added where the series has none of that name', async () => {
  const federate = await start({ series: [series({ __name__: 'up', zone: 'own' }, [before(5), 1])] }, [
    ['zone', 'b'],
    ['cluster', 'c'],
  ]);
  const time = before(5);
  expect((await federate(['up'])).text).toBe(
    `# TYPE up untyped\nup{zone="own",cluster="c",instance=""} 1 ${time}\n`,
  );
});

test('names beyond the old character set: quoted for who asks for them, underscores for others', async () => {
  const federate = await start({
    series: [series({ __name__: 'http.requests', 'app.io/x': 'v', instance: 'i' }, [before(5), 1])],
  });
  const time = before(5);
  const selector = '{"http.requests","app.io/x"="v"}';
  expect((await federate([selector])).text).toBe(
    `# TYPE http_requests untyped\nhttp_requests{app_io_x="v",instance="i"} 1 ${time}\n`,
  );
  expect((await federate([selector], 'text/plain;escaping=allow-utf-8')).text).toBe(
    `# TYPE "http.requests" untyped\n{"http.requests","app.io/x"="v",instance="i"} 1 ${time}\n`,
  );
});

test('errors are plain text: the selector by 400, a gap by 503', async () => {
  const federate = await start({ failure: new AppError('unavailable', 'no route') });
  expect(await federate(['up{'])).toMatchObject({
    status: 400,
    text: expect.stringMatching(/^invalid parameter "match\[\]": /),
  });
  expect(await federate(['up'])).toMatchObject({
    status: 503,
    text: expect.stringMatching(/incomplete.*no route/),
  });
});
