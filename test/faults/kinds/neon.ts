// Neon's protocol: the same service, its database over HTTP.
import { setTimeout as pass } from 'node:timers/promises';
import type { Fault } from '../fault.ts';

const bad = (name: string, mode: Parameters<import('../bad-neon.ts').BadNeon['be']>[0], short = false): Fault => ({
  name,
  kind: 'Neon',
  ready: 'turns',
  short,
  world: { by: 'neon' },
  async strike({ neon }, { holdMs }) {
    neon.be(mode);
    await pass(holdMs);
    neon.be('good');
  },
});

export const neonFaults: Fault[] = [
  bad('answers 500', '500'),
  bad('answers with HTML', 'html'),
  bad('never answers', 'hang'),
  bad('does what it is asked, and never answers', 'hang, committed'),
  bad('does what it is asked, and breaks off its answer', 'cut, committed', true),
  bad('resets connections', 'reset'),
  bad('does what it is asked, and resets the connection', 'reset, committed'),
];
