import { linkSync, readFileSync, rmSync, writeFileSync } from 'node:fs';

/**
 * Takes `<dir>.lock` for this process and returns what gives it back. A lock left behind by a process that is gone is
 * taken over. Throws where a living process holds it.
 */
export function lockDirectory(dir: string): () => void {
  const file = `${dir}.lock`;
  const refuse = (owner: number) => new Error(`${dir} is in use by process ${owner}`);
  const owner = take(file);
  if (owner !== undefined) {
    if (isAnother(owner)) throw refuse(owner);
    // One at a time, or the second to find the lock abandoned would remove the one that the first has just taken.
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

/** Makes `file` with this process's id in it, at once and whole, as a link does; returns whose it is where it exists. */
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

/** The process that `file` names; 0 where it names none or has gone meanwhile. */
function holderOf(file: string): number {
  try {
    return Number(readFileSync(file, 'utf8'));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    return 0;
  }
}

/** Whether `pid` is a living process other than this one, which may have the id of one before it. */
function isAnother(pid: number): boolean {
  if (!Number.isInteger(pid) || pid <= 0 || pid === process.pid) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
