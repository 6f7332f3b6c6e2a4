import { linkSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { DbError } from '../db.ts';

/**
 * Takes `<dir>.lock` for this process, and returns a function to release it. Takes over the lock of a process that is
 * gone. Throws a DbError if a living process has it.
 */
export function lockDirectory(dir: string): () => void {
  const file = `${dir}.lock`;
  const refuse = (owner: number) =>
    new DbError(
      'unavailable',
      `${dir} is in use by process ${owner}: stop that process or, if it is another program, delete ${file}`,
    );
  const owner = take(file);
  if (owner !== undefined) {
    if (isAnother(owner)) throw refuse(owner);
    // One process at a time: otherwise a second one could remove the lock that the first has just taken over.
    const takingOver = `${file}.takeover`;
    const rival = take(takingOver);
    if (rival !== undefined && isAnother(rival)) throw refuse(rival);
    try {
      const last = holderOf(file);
      if (isAnother(last)) throw refuse(last);
      rmSync(file, { force: true });
      const winner = take(file);
      if (winner !== undefined) throw refuse(winner);
    } finally {
      rmSync(takingOver, { force: true });
    }
  }
  return () => rmSync(file, { force: true });
}

/** Creates `file` with this process's id atomically (by a link). If it exists, returns its owner. */
function take(file: string): number | undefined {
  const own = `${file}.${process.pid}`;
  writeFileSync(own, String(process.pid));
  try {
    linkSync(own, file);
    return undefined;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    return holderOf(file);
  } finally {
    rmSync(own, { force: true });
  }
}

/** Returns the process id in `file`, or 0 if there is none or the file is gone. */
function holderOf(file: string): number {
  try {
    return Number(readFileSync(file, 'utf8'));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    return 0;
  }
}

/** Whether `pid` is a living process other than this one (ids are reused). */
function isAnother(pid: number): boolean {
  if (!Number.isInteger(pid) || pid <= 0 || pid === process.pid) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
