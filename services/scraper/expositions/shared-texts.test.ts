import fc from 'fast-check';
import { expect, test } from 'vitest';
import { encodeUtf8 } from '../../lib/core/bytes.ts';
import { hashText, SharedTexts, type TextUser } from './shared-texts.ts';

/** A user of the texts that a test says. */
class User implements TextUser {
  readonly texts = new Set<number>();

  markTexts(marks: Uint8Array): void {
    for (const text of this.texts) marks[text] = 1;
  }
}

function intern(texts: SharedTexts, text: string): number {
  const bytes = encodeUtf8(`..${text}`);
  return texts.intern(bytes, 2, bytes.length, hashText(bytes, 2, bytes.length));
}

function textOf(texts: SharedTexts, number: number): string {
  return Buffer.from(texts.bytesOf(number)).toString();
}

test('a text is there once, and found by its bytes', () => {
  const texts = new SharedTexts();
  expect([intern(texts, 'a'), intern(texts, 'b'), intern(texts, 'a')]).toEqual([0, 1, 0]);
  expect([texts.count, texts.bytes, texts.lengthOf(1)]).toEqual([2, 2, 1]);
  const bytes = encodeUtf8('xbx');
  expect([texts.isAt(1, bytes, 1), texts.isAt(0, bytes, 1)]).toEqual([true, false]);
  expect(texts.find(bytes, 0, 1, hashText(bytes, 0, 1))).toBe(-1);
});

test('equal hashes are not equal texts', () => {
  const texts = new SharedTexts();
  const [a, b] = [encodeUtf8('one'), encodeUtf8('two')];
  expect([texts.intern(a, 0, 3, 7), texts.intern(b, 0, 3, 7)]).toEqual([0, 1]);
  expect([texts.find(b, 0, 3, 7), texts.find(a, 0, 3, 7)]).toEqual([1, 0]);
});

test('a text longer than a page', () => {
  const texts = new SharedTexts();
  const long = 'x'.repeat(3_000_000);
  const number = intern(texts, long);
  intern(texts, 'short');
  expect(textOf(texts, number) === long).toBe(true);
  expect(intern(texts, long)).toBe(number);
});

test('what nobody uses is dropped; what is used keeps its number and its bytes', () => {
  const texts = new SharedTexts();
  const user = new User();
  texts.addUser(user);
  const used = new Map<number, string>();
  for (let i = 0; i < 200_000; i++) {
    const text = `series ${i} ${'y'.repeat(i % 50)}`;
    const number = intern(texts, text);
    if (i % 100 === 0) {
      user.texts.add(number);
      used.set(number, text);
    }
  }
  // At most twice what was in use, and never fewer than before the first time.
  expect(texts.count).toBeLessThanOrEqual(16_384);
  for (const [number, text] of used) {
    expect(textOf(texts, number)).toBe(text);
    expect(intern(texts, text)).toBe(number);
  }
});

test('against a Map', () => {
  fc.assert(
    fc.property(fc.array(fc.string({ maxLength: 12 }), { maxLength: 3000 }), (all) => {
      const texts = new SharedTexts();
      const known = new Map<string, number>();
      for (const text of all) {
        const number = intern(texts, text);
        expect(known.get(text) ?? number).toBe(number);
        known.set(text, number);
      }
      expect(texts.count).toBe(known.size);
      for (const [text, number] of known) expect(textOf(texts, number)).toBe(Buffer.from(text).toString());
    }),
    { numRuns: 30 },
  );
});
