// Reads vitest's JSON report and prints the closing line; skipped tests and broken files count as failures.
import { readFileSync } from 'node:fs';

const [file, statusText] = process.argv.slice(2);
let report;
try {
  report = JSON.parse(readFileSync(file, 'utf8'));
} catch (error) {
  console.error(`no test report: ${error.message}`);
  console.log('0 passed, 1 failed');
  process.exit(1);
}
const broken = [];
for (const suite of report.testResults) {
  if (suite.status === 'failed' && suite.assertionResults.length === 0)
    broken.push(`${suite.name}: ${suite.message}`);
  for (const test of suite.assertionResults) {
    if (test.status !== 'passed') broken.push(`${test.status}: ${suite.name}: ${test.fullName}`);
  }
}
for (const line of broken) console.error(line);
const failed = broken.length === 0 && Number(statusText) !== 0 ? 1 : broken.length;
console.log(`${report.numPassedTests} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
