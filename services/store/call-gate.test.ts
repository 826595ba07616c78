import { expect, test } from 'vitest';
import { CallGate } from './call-gate.ts';

test('nobody gets in before it is opened, nor once it is closed; those who are in are waited for', async () => {
  const gate = new CallGate();
  expect(() => gate.enter()).toThrow('still looking through its blocks');
  gate.open();
  gate.enter();
  gate.close();
  expect(() => gate.enter()).toThrow('shutting down');
  let isIdle = false;
  const idle = gate.idle().then(() => {
    isIdle = true;
  });
  await Promise.resolve();
  expect(isIdle).toBe(false);
  gate.leave();
  await idle;
});

test('what was closed before it was opened stays closed', () => {
  const gate = new CallGate();
  gate.close();
  gate.open();
  expect(() => gate.enter()).toThrow('shutting down');
});
