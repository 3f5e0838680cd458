// The API reference is made from the built types: it must know each name that the package exports, and have words for it.
import { expect, test } from 'vitest';
import { exportedDeclarations, membersOf } from '../../tools/api-reference.mjs';
import { zeropoint } from './helpers.ts';

const declarations = exportedDeclarations();
const named = (name: string) => declarations.find((declaration) => declaration.name === name);

test('it has every value that can be imported', () => {
  expect(declarations.map(({ name }) => name)).toEqual(expect.arrayContaining(Object.keys(zeropoint)));
});

test('each name has a doc comment', () => {
  expect(declarations.filter(({ comment }) => comment === '').map(({ name }) => name)).toEqual([]);
});

test('members come with their comments, private ones do not', () => {
  const members = membersOf(named('Model') ?? expect.fail('Model is not there'));
  const toBytes = members.find(({ code }) => code.startsWith('toBytes('));
  expect(toBytes?.comment).not.toBe('');
  expect(members.filter(({ code }) => /#private|^private|^protected/.test(code))).toEqual([]);
  // What it has from the class that zeropoint/run shares.
  expect(members.find(({ code }) => code.startsWith('createSession('))?.comment).not.toBe('');
  expect(named('Model')?.code).not.toMatch(/ extends /);
  const { code } = named('ErrorCode') ?? expect.fail('ErrorCode is not there');
  expect(code).toMatch(/^export type ErrorCode = .*;$/);
});
