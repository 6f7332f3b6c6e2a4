// The machine resources that a service holds: memory and sockets.
import { setTimeout as pass } from 'node:timers/promises';
import { openSockets, residentMib } from '../support/processes.ts';
import type { Growth } from './fault.ts';
import type { World } from './world.ts';

type Footprint = { memoryMib: number; sockets: number };

/** Returns the lowest figures seen within `forMs`, or until they are `enough`, so that garbage does not count. */
export async function footprint(
  { services }: World,
  forMs: number,
  enough: (seen: Footprint) => boolean = () => false,
): Promise<Footprint> {
  let least = { memoryMib: Number.POSITIVE_INFINITY, sockets: Number.POSITIVE_INFINITY };
  for (const end = performance.now() + forMs; ; await pass(200)) {
    const memoryMib = sum(services.map(({ pid }) => residentMib(pid)));
    const sockets = sum(services.map(({ pid }) => openSockets(pid)));
    least = { memoryMib: Math.min(least.memoryMib, memoryMib), sockets: Math.min(least.sockets, sockets) };
    if (performance.now() >= end || enough(least)) return least;
  }
}

/** A young process still grows into its heap, whatever the fault. */
const MAY_GROW: Growth = { factor: 1.25, mib: 48 };
const MORE_SOCKETS = 15;

export function grown(before: Footprint, after: Footprint, { factor, mib } = MAY_GROW): string[] {
  const most = before.memoryMib * factor + mib;
  return [
    ...(after.memoryMib > most
      ? [`memory grew from ${Math.round(before.memoryMib)} to ${Math.round(after.memoryMib)} MiB`]
      : []),
    ...(after.sockets > before.sockets + MORE_SOCKETS
      ? [`sockets grew from ${before.sockets} to ${after.sockets}`]
      : []),
  ];
}

const sum = (values: number[]) => values.reduce((a, b) => a + b, 0);
