// Words that numbers are put into, on the command line and in the page.
import { expect, test } from 'vitest';
import { sizeChange as onTheCommandLine, speedChange } from '../../bindings/ts/cli/common.ts';
import { sizeChange as inThePage } from '../../web/src/format.ts';

test.each([
  [4_000_000, 1_000_000, '4.00 times smaller', '4.00× smaller'],
  [1_100_000, 1_000_000, '1.10 times smaller', '1.10× smaller'],
  [1_000_000, 950_000, '5 % smaller', '5 % smaller'],
  [1_000_000, 999_000, 'less than 1 % smaller', 'less than 1 % smaller'],
  [1_000_000, 1_000_000, 'the same size', 'the same size'],
  [1_000_000, 1_001_000, 'less than 1 % larger', 'less than 1 % larger'],
  [1_000_000, 1_070_000, '7 % larger', '7 % larger'],
  [1_000_000, 2_500_000, '150 % larger', '150 % larger'],
])('%d bytes that become %d', (before, after, command, page) => {
  expect(onTheCommandLine(before, after)).toBe(command);
  expect(inThePage(before, after)).toBe(page);
});

test.each([
  [10, 5, '2.00 times as fast'],
  [10, 10, '1.00 times as fast'],
  [10, 10.8, '1.08 times slower'],
])('%d ms that become %d', (before, after, words) => {
  expect(speedChange(before, after)).toBe(words);
});
