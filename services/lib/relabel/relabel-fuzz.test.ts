// Random relabelling of random labels: what is compiled as a whole gives what its steps give one after another, names and values stay
// legal, and nothing hangs or fails but by its name.
import { expect, test } from 'vitest';
import { FUZZ_SEED } from '../../../test/support/byte-fuzz.ts';
import { pick, type Random, randomOf } from '../../../test/support/random.ts';
import { AppError } from '../core/errors.ts';
import { Labels } from '../model/labels.ts';
import { compileRelabeler } from './relabel.ts';
import type { RelabelAction, RelabelConfig } from './relabel-config.ts';

const RUNS = Number(process.env.TIDEMARK_FUZZ_MUTATIONS ?? 50_000);
const ACTIONS: readonly RelabelAction[] = [
  ...(['replace', 'replace', 'keep', 'drop', 'keepequal', 'dropequal', 'hashmod'] as const),
  ...(['labelmap', 'labeldrop', 'labelkeep', 'lowercase', 'uppercase'] as const),
];
const NAMES = ['a', 'b', '__meta_x', '__address__', 'job', 'été', 'with.dot', ''];
const VALUES = ['', 'x', 'Web-1', '10.0.0.1:80', 'a;b', 'ÉTÉ', '\u{1F600}', '$1', 'x'.repeat(300), '\n'];
/** What expressions and replacements are made of, whole ones and pieces that break them. */
const PIECES = [
  ...[
    '(.*)',
    '.+',
    '(a|b)',
    '([^:]+)(?::\\d+)?',
    '(?i)web',
    '__meta_(.+)',
    '[',
    ')',
    '\\',
    '*',
    '(?P<n>.)',
    'x{2,3}',
  ],
  ...[
    '',
    '^',
    '$',
    '$1',
    `$\{1}`,
    `$\{n}`,
    '$$',
    '${',
    '\\pL',
    '[[:alpha:]]',
    'é',
    ';',
    '(?s).',
    '((((a*)*)*)*)',
  ],
];

function text(random: Random): string {
  let made = '';
  for (let left = 1 + Math.floor(random() * 3); left > 0; left--) made += pick(random, PIECES);
  return made;
}

function step(random: Random): RelabelConfig {
  return {
    action: pick(random, ACTIONS),
    sourceLabels: Array.from({ length: Math.floor(random() * 3) }, () => pick(random, NAMES)),
    separator: pick(random, [';', '', '-', '\n']),
    regex: random() < 0.5 ? '(.*)' : text(random),
    modulus: pick(random, [1, 2, 8, 2 ** 40]),
    targetLabel: (random() < 0.3 && text(random)) || pick(random, ['a', 'c', 'job']),
    replacement: random() < 0.3 ? '$1' : text(random),
  };
}

test('random relabelling', () => {
  const random = randomOf(FUZZ_SEED);
  let refused = 0;
  let dropped = 0;
  for (let run = 0; run < RUNS; run++) {
    const configs = Array.from({ length: 1 + Math.floor(random() * 4) }, () => step(random));
    const pairs = NAMES.slice(0, -1)
      .filter(() => random() < 0.5)
      .map((name): [string, string] => [name, pick(random, VALUES)]);
    const labels = Labels.from(pairs);
    const where = `TIDEMARK_FUZZ_SEED=${FUZZ_SEED}, run ${run}: ${JSON.stringify([configs, pairs])}`;
    try {
      const whole = compileRelabeler(configs)(labels);
      let one: Labels | undefined = labels;
      for (const config of configs) one = one && compileRelabeler([config])(one);
      // Where labelmap gives two labels one name, the later one stays, and the order is that of their making.
      const isOrdered = configs.some(({ action }) => action === 'labelmap');
      if (!isOrdered && whole?.key !== one?.key)
        expect.fail(`the whole gives ${whole?.toString()}, its steps ${one?.toString()}: ${where}`);
      if (whole === undefined) dropped++;
      for (const [name, value] of whole?.entries() ?? []) {
        if (name === '' || value === '' || !name.isWellFormed()) expect.fail(`${name}=${value}: ${where}`);
      }
    } catch (caught) {
      if (!(caught instanceof AppError) || caught.code !== 'bad_data') throw caught;
      refused++;
    }
  }
  console.log(`fuzz relabel: ${RUNS} runs, ${refused} refused, ${dropped} dropped`);
  expect(refused / RUNS).toBeLessThan(0.7);
  expect(dropped / RUNS).toBeGreaterThan(0.02);
});
