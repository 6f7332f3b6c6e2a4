import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Mounts an in-memory file system of `mib` MiB at the returned `path`. Throws where mounting is not allowed. */
export function mountDisk(mib: number): { path: string; unmount(): void } {
  const path = mkdtempSync(join(tmpdir(), 'keelson-disk-'));
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${mib}m`, 'tmpfs', path], { stdio: 'pipe' });
  } catch (error) {
    rmdirSync(path);
    throw error;
  }
  chmodSync(path, 0o755);
  const unmount = () => {
    process.off('exit', unmount);
    execFileSync('umount', ['--lazy', path]);
    rmdirSync(path);
  };
  process.on('exit', unmount);
  return { path, unmount };
}

/** Returns why nothing can be mounted here, or undefined. */
export function whyNoDisk(): string | undefined {
  try {
    mountDisk(1).unmount();
    return undefined;
  } catch (error) {
    return `a disk of its own cannot be mounted: ${String((error as { stderr?: Buffer }).stderr ?? error).trim()}`;
  }
}
