import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatMarkdown } from './markdown.ts';

test('a paragraph is filled anew, and a list keeps its items', () => {
  const page = '# Page\n\nOne\nparagraph.\n\n- The first item,\n  on two lines.\n- The second.\n';
  assert.equal(formatMarkdown(page), page.replace('One\nparagraph', 'One paragraph'));
});
