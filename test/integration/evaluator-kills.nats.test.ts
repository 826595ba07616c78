// R24: the evaluator of alerts is killed (SIGKILL) while alerts are pending, firing and about to end, again and again, and another one takes
// its groups over. Every alert fires and ends within two intervals of when it should, its `for` clock goes on as if nothing had been,
// and a real Alertmanager, which groups and repeats as it likes, tells its receiver of each once, and of its end once.
// TIDEMARK_EVALUATOR_KILLS sets how many are killed, TIDEMARK_EVALUATORS out of how many at a time, half of which are killed together,
// TIDEMARK_EVALUATOR_SEED which, and when.
import { writeFileSync } from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { startAlertmanager } from '../support/alertmanager.ts';
import { MEMBER_EXPIRY_MS, type Node, startCluster, startNode } from '../support/cluster.ts';
import { hasPrograms } from '../support/process.ts';
import { freePort, loadFactor, waitFor } from '../support/programs.ts';
import { type Random, randomOf, shuffled } from '../support/random.ts';
import { encodeWriteRequest, sendWrite, snappyLiterals } from '../support/remote-write-body.ts';
import { callApi, freshFolder, type MatrixSeries, queryInstant } from '../support/tidemark.ts';

const KILLS = Number(process.env.TIDEMARK_EVALUATOR_KILLS ?? 1);
const EVALUATORS = Number(process.env.TIDEMARK_EVALUATORS ?? 2);
const SEED = Number(process.env.TIDEMARK_EVALUATOR_SEED ?? 24);
/**
 * "Two intervals" is more than a hand-over takes: a lease that lasts three seconds, five before the new holder begins (rule-leases.ts), and
 * an evaluation. On a machine with other work all of it is slower.
 */
const INTERVAL_MS = 6_000 * Math.round(loadFactor());
const FOR_MS = INTERVAL_MS;
const GROUPS = 6 * EVALUATORS;
/** Each signal is on for so long and off for so long, and no two change together. */
const ON_MS = 3 * INTERVAL_MS;
const PERIOD_MS = 6 * INTERVAL_MS;
const STEP_MS = 1_000;
/** Samples of the future are taken for ten minutes. */
const AHEAD_MS = 480_000;

/** Whether a signal is on at a time: a square wave of its own phase. */
const isOn = (group: number, timeMs: number): boolean =>
  (timeMs + (group * PERIOD_MS) / GROUPS) % PERIOD_MS < ON_MS;

const RULES = `groups:${Array.from(
  { length: GROUPS },
  (_, n) => `
  - name: g${n}
    interval: ${INTERVAL_MS / 1000}s
    rules:
      - { record: seen, expr: 'signal{n="${n}"}' }
      - { alert: Signal, expr: 'signal{n="${n}"} == 1', for: ${FOR_MS / 1000}s }`,
).join('')}\n`;

/** What was said of one alert, by whoever said it. */
interface Said {
  readonly atMs: number;
  readonly group: number;
  readonly startsAtMs: number;
  readonly isResolved: boolean;
}

interface Alert {
  readonly labels: { readonly n: string };
  readonly startsAt: string;
  readonly endsAt: string;
  readonly status?: string;
}

/** Takes alerts as an Alertmanager does (v2 API), and notifications as a webhook receiver does. */
async function startListener(): Promise<{
  readonly address: string;
  readonly sent: Said[];
  readonly notified: Said[];
}> {
  const [sent, notified]: [Said[], Said[]] = [[], []];
  const server = http.createServer((request, response) => {
    let body = '';
    request.on('data', (piece: Buffer) => {
      body += piece.toString();
    });
    request.on('end', () => {
      const atMs = Date.now();
      const isWebhook = request.url === '/webhook';
      const parsed = JSON.parse(body) as Alert[] | { alerts: Alert[] };
      for (const { labels, startsAt, endsAt, status } of Array.isArray(parsed) ? parsed : parsed.alerts) {
        const isResolved = isWebhook ? status === 'resolved' : Date.parse(endsAt) <= atMs;
        const said = { atMs, group: Number(labels.n), startsAtMs: Date.parse(startsAt), isResolved };
        (isWebhook ? notified : sent).push(said);
      }
      response.end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { address: `127.0.0.1:${(server.address() as AddressInfo).port}`, sent, notified };
}

/**
 * Writes what the signals are and will be, until told to stop: what a rule finds at a time follows from the time alone, however late or often
 * it looks.
 */
async function startSignals(gateway: string): Promise<{ readonly stop: () => Promise<void> }> {
  const stopping = new AbortController();
  let writtenMs = Math.floor(Date.now() / STEP_MS) * STEP_MS - 10 * STEP_MS;
  const write = async (): Promise<void> => {
    const untilMs = Date.now() + AHEAD_MS;
    const times: number[] = [];
    for (; writtenMs < untilMs; writtenMs += STEP_MS) times.push(writtenMs);
    const series = Array.from({ length: GROUPS }, (_, n) => ({
      labels: { __name__: 'signal', n: `${n}` },
      samples: times.map((timeMs) => [timeMs, isOn(n, timeMs) ? 1 : 0] as const),
    }));
    expect(await sendWrite(gateway, snappyLiterals(encodeWriteRequest(series)), 60_000)).toBe(204);
  };
  await write();
  const run = async (): Promise<void> => {
    while (!stopping.signal.aborted) {
      await sleep(AHEAD_MS / 4, undefined, { signal: stopping.signal }).catch(() => undefined);
      if (!stopping.signal.aborted) await write();
    }
  };
  const running = run();
  return {
    stop: () => {
      stopping.abort();
      return running;
    },
  };
}

/** From one evaluation that saw the signal on to the one that saw it off again. */
interface Episode {
  readonly group: number;
  /** First evaluation that found it on, and the first one after `for`. */
  readonly activeMs: number;
  readonly firesMs: number;
  /** First evaluation that found it off. */
  readonly endsMs: number;
}

/** Episodes that began and ended between two times, from what the rules saw themselves: each evaluation of theirs left a sample. */
function episodesOf(seen: readonly MatrixSeries[], fromMs: number, untilMs: number): Episode[] {
  const episodes: Episode[] = [];
  for (const { metric, values } of seen) {
    const slots = values.map(([seconds, value]) => ({
      timeMs: Math.round(seconds * 1000),
      isOn: value === '1',
    }));
    for (const [i, { timeMs: activeMs, isOn: begins }] of slots.entries()) {
      if (i === 0 || !begins || slots[i - 1]!.isOn || activeMs < fromMs) continue;
      const fires = slots.find(({ timeMs }) => timeMs >= activeMs + FOR_MS);
      const end = slots.find(({ timeMs, isOn: isSeen }) => timeMs > activeMs && !isSeen);
      if (fires === undefined || end === undefined || end.timeMs > untilMs) continue;
      // Evaluations were missed, by a machine that had no time for them.
      if (fires.timeMs >= end.timeMs) continue;
      episodes.push({ group: Number(metric.n), activeMs, firesMs: fires.timeMs, endsMs: end.timeMs });
    }
  }
  return episodes;
}

/** What was said from one period before an episode to one after it, in seconds from its start. */
function historyOf(said: readonly Said[], { activeMs }: Episode): string {
  const since = (timeMs: number): string => ((timeMs - activeMs) / 1000).toFixed(1);
  return said
    .filter(({ atMs }) => Math.abs(atMs - activeMs) <= 2 * PERIOD_MS)
    .map(
      ({ atMs, startsAtMs, isResolved }) =>
        `${since(atMs)} s: ${isResolved ? 'resolved' : 'firing'} since ${since(startsAtMs)} s`,
    )
    .join(', ');
}

/** What is wrong with what was said of an episode: by evaluators, who repeat themselves, or by Alertmanager, which must not (`isOnce`). */
function judge(episode: Episode, all: readonly Said[], isOnce: boolean, limitMs: number): string[] {
  const { group, activeMs, firesMs, endsMs } = episode;
  const said = all.filter((each) => each.group === group);
  const problems: string[] = [];
  const check = (what: string, isResolved: boolean, dueMs: number): void => {
    const found = said.filter((each) => each.isResolved === isResolved && each.startsAtMs === firesMs);
    const lateMs = (found[0]?.atMs ?? Number.POSITIVE_INFINITY) - dueMs;
    if (lateMs > limitMs || lateMs < 0) problems.push(`g${group} ${what} ${lateMs} ms after ${dueMs}`);
    if (isOnce && found.length > 1) problems.push(`g${group} ${what} ${found.length} times`);
  };
  check('fires', false, firesMs);
  check('ends', true, endsMs);
  // Its clock began anew, or was forgotten: the same alert is told with another start.
  for (const { startsAtMs } of said)
    if (startsAtMs !== firesMs && startsAtMs >= activeMs && startsAtMs <= endsMs)
      problems.push(`g${group} starts at ${startsAtMs}, not at ${firesMs}`);
  if (problems.length > 0) problems.push(`g${group} ${historyOf(said, episode)}`);
  return [...new Set(problems)];
}

/** What the rules of all groups saw, each evaluation of theirs. */
async function seenBy(gateway: string): Promise<readonly MatrixSeries[]> {
  const { body } = await callApi(gateway, 'query', { query: 'seen[2h]' });
  if (body.status !== 'success') throw new Error(body.error);
  return (body.data as { result: MatrixSeries[] }).result;
}

function judgeBoth(
  episode: Episode,
  { sent, notified }: { readonly sent: readonly Said[]; readonly notified: readonly Said[] },
  limitMs: number,
): string[] {
  return [
    ...judge(episode, sent, false, limitMs),
    ...judge(episode, notified, true, limitMs + 1_000).map((problem) => `Alertmanager: ${problem}`),
  ];
}

/** Sometimes it is back before anybody misses it, sometimes another one has its groups by then. */
async function killFor(victim: Node, absentMs: number): Promise<void> {
  await victim.end('SIGKILL');
  await sleep(absentMs);
  await victim.start();
  await victim.ready();
}

/** Kills half of the evaluators, `max` at most, while the others are there to take over; resolves to their names when they are back. */
async function killHalf(evaluators: readonly Node[], max: number, random: Random): Promise<string[]> {
  const victims = shuffled(random, evaluators).slice(0, Math.min(max, Math.floor(evaluators.length / 2)));
  await Promise.all(victims.map((victim) => killFor(victim, random() * 2 * MEMBER_EXPIRY_MS)));
  return victims.map(({ instance }) => instance);
}

test.skipIf(!hasPrograms('nats-server', 'prometheus-alertmanager'))(
  `R24: ${KILLS} evaluators are killed while alerts are pending, firing and ending: each fires and ends in time, once (seed ${SEED})`,
  { timeout: 240_000 + 6 * PERIOD_MS + KILLS * 150_000 },
  async () => {
    const random = randomOf(SEED);
    const listener = await startListener();
    const managerPort = await freePort();
    await startAlertmanager(freshFolder(), managerPort, `http://${listener.address}/webhook`);
    const folder = freshFolder();
    writeFileSync(path.join(folder, 'rules.yml'), RULES);
    const configFile = path.join(folder, 'prometheus.yml');
    const targets = `'${listener.address}', '127.0.0.1:${managerPort}'`;
    const alertmanagers = `[{ static_configs: [{ targets: [${targets}] }] }]`;
    writeFileSync(
      configFile,
      `rule_files: [${folder}/rules.yml]\nalerting: { alertmanagers: ${alertmanagers} }\n`,
    );
    const cluster = await startCluster({
      counts: { ingester: 3, store: 1, querier: 1, gateway: 1 },
      flags: { ingester: ['--store.replication-factor=1', '--cluster.partitions=16'] },
    });
    const gateway = cluster.of('gateway')[0]!.url;
    const signals = await startSignals(gateway);
    onTestFinished(() => signals.stop());
    const evaluators: Node[] = [];
    for (let n = 0; n < EVALUATORS; n++) {
      const flags = ['--rules.alert.resend-delay=1s'];
      evaluators.push(
        await startNode('alert-evaluator', `e${n}`, {
          natsUrl: cluster.nats.url,
          zone: '',
          configFile,
          flags,
        }),
      );
    }
    await Promise.all(evaluators.map((node) => node.ready()));
    const describe = (): string => evaluators.map((node) => node.output().slice(-3000)).join('\n');
    const newest = `count(time() - timestamp(seen) < ${(2 * INTERVAL_MS) / 1000})`;
    await waitFor(
      'all groups are evaluated at their time',
      async () => (await queryInstant(gateway, newest))[0]?.value[1] === String(GROUPS),
      { timeoutMs: 60_000 + 2 * PERIOD_MS, describe },
    );
    const sinceMs = Date.now();

    for (let kills = 0; kills < KILLS; ) {
      // What the promise gives one kill is over before the next.
      await sleep((kills === 0 ? MEMBER_EXPIRY_MS : 2 * INTERVAL_MS) + random() * INTERVAL_MS);
      const killed = await killHalf(evaluators, KILLS - kills, random);
      kills += killed.length;
      process.stdout.write(
        `${kills} kills, ${killed.join(' ')}: ${listener.sent.length} sent, ${listener.notified.length} notified\n`,
      );
    }
    // What was on when the last one was killed ends, and is heard of.
    await sleep(Math.max(0, sinceMs + ON_MS + 2 * INTERVAL_MS - Date.now()));
    const untilMs = Date.now();
    const limitMs = 2 * INTERVAL_MS;
    const judgeAll = async () => {
      const seen = await seenBy(gateway);
      const episodes = episodesOf(seen, sinceMs, untilMs);
      const wrong = episodes.flatMap((episode) => judgeBoth(episode, listener, limitMs));
      // Evaluations of before that are made up for have been by then.
      const isWhole = seen.every(({ values }) => values.at(-1)![0] * 1000 > untilMs);
      return { episodes, wrong, isOver: isWhole && wrong.length === 0 };
    };
    while (!(await judgeAll()).isOver && Date.now() < untilMs + limitMs) await sleep(1_000);
    // Whatever is told once more is told by now.
    await sleep(INTERVAL_MS);
    await signals.stop();
    const { episodes, wrong } = await judgeAll();
    console.log(
      `R24: ${KILLS} evaluators killed, seed ${SEED}: ${episodes.length} alerts fired and ended, ${listener.sent.length} sendings, ` +
        `${listener.notified.length} notifications of Alertmanager, ${wrong.length} late, early or twice`,
    );
    expect(wrong).toEqual([]);
    expect(episodes.length).toBeGreaterThanOrEqual(KILLS);
  },
);
