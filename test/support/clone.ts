import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const { name } = JSON.parse(readFileSync(join(import.meta.dirname, '../../package.json'), 'utf8'));

/** A reason to skip tests of what a clone has of its own: README, releases, example. False in Keelson itself. */
export const inClone: string | false = name !== 'keelson' && 'this is a clone, which may have another one';
