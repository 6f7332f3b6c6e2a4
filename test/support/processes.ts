// Resource usage of processes, from Linux's /proc. On other systems every figure is NaN.
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

const isLinux = process.platform === 'linux';
const TICK_MS = isLinux ? 1000 / Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' })) : Number.NaN;

type Stat = { pid: number; parent: number; ticks: number };

/** Returns the PIDs of the process and its living descendants. */
export function treeOf(root: number): number[] {
  return statsOf(root).map(({ pid }) => pid);
}

/** Returns the CPU time used by the process and its descendants, including ended ones, in milliseconds. */
export function cpuMs(root: number): number {
  if (!isLinux) return Number.NaN;
  // A child that ends during the scan can be missed, but the sum never shrinks.
  return Math.max(readCpu(root), readCpu(root));
}

/** Returns the resident memory of the process and its descendants, in MiB. */
export function residentMib(root: number): number {
  if (!isLinux) return Number.NaN;
  const kib = (pid: number) => Number(/^VmRSS:\s+(\d+) kB/m.exec(textOf(`/proc/${pid}/status`))?.[1] ?? 0);
  return sum(treeOf(root).map(kib)) / 1024;
}

/** Returns the number of sockets that the process and its descendants have open. */
export function openSockets(root: number): number {
  if (!isLinux) return Number.NaN;
  const files = treeOf(root).flatMap((pid) => namesIn(`/proc/${pid}/fd`).map((name) => `/proc/${pid}/fd/${name}`));
  return files.filter((file) => targetOf(file).startsWith('socket:')).length;
}

/** Returns how long the machine's cores have been busy since boot, in milliseconds, including steal time. */
export function machineBusyMs(): number {
  if (!isLinux) return Number.NaN;
  const [user, nice, system, , , irq, softIrq, steal] = numbersOf(textOf('/proc/stat').split('\n')[0] as string);
  return sum([user, nice, system, irq, softIrq, steal].map((ticks) => ticks ?? 0)) * TICK_MS;
}

function readCpu(root: number): number {
  return sum(statsOf(root).map(({ ticks }) => ticks)) * TICK_MS;
}

function statsOf(root: number): Stat[] {
  if (!isLinux) return [];
  const all = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((name) => statOf(Number(name)))
    .filter((stat) => stat !== undefined);
  const children = Map.groupBy(all, ({ parent }) => parent);
  const tree = all.filter(({ pid }) => pid === root);
  // The list grows while it is walked.
  for (const { pid } of tree) tree.push(...(children.get(pid) ?? []));
  return tree;
}

function statOf(pid: number): Stat | undefined {
  const text = textOf(`/proc/${pid}/stat`);
  if (!text) return undefined;
  // A program's name, in parentheses, may contain anything.
  const fields = text
    .slice(text.lastIndexOf(')') + 2)
    .split(' ')
    .map(Number);
  return { pid, parent: fields[1] as number, ticks: sum(fields.slice(11, 15)) };
}

/** Returns an empty string if the process has ended meanwhile. */
function textOf(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}

/** Returns nothing, as does `targetOf`, if the path has disappeared meanwhile. */
function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

function targetOf(link: string): string {
  try {
    return readlinkSync(link);
  } catch {
    return '';
  }
}

const numbersOf = (line: string) => (line.match(/\d+/g) ?? []).map(Number);
const sum = (values: number[]) => values.reduce((a, b) => a + b, 0);
