import { expect, test } from 'vitest';
import { featuresOf } from './feature-names.ts';

test('switches turn features on, what is always on is taken without a word, what is unknown with one', () => {
  const unknown: object[] = [];
  const log = { warn: (fields: object) => void unknown.push(fields) };
  const features = featuresOf(['use-start-timestamps', 'exemplar-storage', 'native-histograms', 'x'], log);
  expect(features.startTimestamps).toBe(true);
  expect(features.experimentalFunctions).toBe(false);
  expect(unknown).toMatchObject([{ feature: 'x' }]);
});
