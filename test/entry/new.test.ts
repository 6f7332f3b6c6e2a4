import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { namesOf, parseDeclaration } from '../../src/entry/new/declaration.ts';

const team = { name: namesOf('team'), table: 'teams' };
const parse = (...words: string[]) =>
  parseDeclaration(words, undefined, {
    folders: ['notifications'],
    tables: ['messages'],
    scopes: ['webhooks:read'],
    schemas: ['Problem', 'TeamPage'],
    find: (name) => (name === 'team' ? team : undefined),
  });

describe('npm run new', () => {
  test('understands every kind of field, optional, unique, and references', () => {
    const { names, fields } = parse(
      'sales-person',
      'name:text',
      'team:team.id?',
      'badge:integer:unique',
      'role:enum:a,b?',
    );
    assert.deepEqual(
      [names.path, names.table, names.pascal, names.camels],
      ['sales-persons', 'sales_persons', 'SalesPerson', 'salesPersons'],
    );
    assert.deepEqual(
      fields.map(({ name, kind, optional, unique, values }) => [name, kind, optional, unique, values.join()]),
      [
        ['name', 'text', false, false, ''],
        ['teamId', 'reference', true, false, ''],
        ['badge', 'integer', false, true, ''],
        ['role', 'enum', true, false, 'a,b'],
      ],
    );
  });

  test('takes names that are words of SQL, as its table is quoted', () => {
    for (const name of ['order', 'group', 'session', 'check']) assert.equal(parse(name, 'name:text').names.camel, name);
    assert.equal(parse('day', 'name:text').names.path, 'days');
  });

  const REFUSED: [words: string[], why: RegExp][] = [
    [['Team', 'name:text'], /lower-case words/],
    [['../team', 'name:text'], /lower-case words/],
    [['class', 'name:text'], /class is a reserved word/],
    [['category', 'name:text'], /--plural categories/],
    [['address', 'name:text'], /--plural addresses/],
    [['x'.repeat(31), 'name:text'], /longer than 30/],
    [['message', 'text:text'], /messages is the name of a table/],
    [['recipient', 'name:text'], /recipients is the name of a table or a CTE/],
    [['notification', 'name:text'], /notifications is there already/],
    [['webhook', 'name:text'], /the scopes of webhooks are those of another/],
    [['problem', 'name:text'], /a name that the code/],
    [['team-page', 'name:text'], /TeamPage is a schema/],
    [['error-code', 'name:text'], /a name that the code/],
    [['day', 'plan:enum:free,free'], /each value of an enum is named once/],
    [['reservation', 'name:text'], /a name that the code/],
    [['area-51', 'name:text'], /lower-case words/],
    [['area51', 'name:text'], /without digits/],
    [['health', 'name:text'], /a name that the code/],
    [['person', 'constructor:text'], /constructor is a reserved word/],
    [['person', 'secret:text'], /secret is a reserved word/],
    [['person', 'home:.id'], /there is no resource/],
    [['customer-support-organization', `${'x'.repeat(28)}:text:unique`], /Postgres would cut/],
    [['person'], /at least one field/],
    [['person', 'name'], /a type is one of/],
    [['person', 'name:string'], /a type is one of/],
    [['person', 'Name:text'], /camelCase/],
    [["person', 'x'); --:text"], /lower-case words/],
    [['person', 'order:integer'], /order is a reserved word/],
    [['person', 'key:text'], /key is a reserved word/],
    [['person', 'id:uuid'], /reserved|there already/],
    [['person', 'createdAt:timestamp'], /createdAt is there already/],
    [['person', 'name:text', 'name:text'], /name is there already/],
    [['person', 'boss:person.id'], /there is no resource person/],
    [['person', 'role:enum:a'], /two or more/],
    [['person', "role:enum:a,b'c"], /two or more/],
    [['person', 'name:text:indexed'], /only "unique"/],
    [['person', 'extra:json:unique'], /cannot be unique/],
  ];
  for (const [words, why] of REFUSED) {
    test(`refuses ${words.join(' ')}`, () => {
      assert.throws(() => parse(...words), why);
    });
  }
});
