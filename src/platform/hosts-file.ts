import { readFileSync, statSync } from 'node:fs';
import { isIP } from 'node:net';

/** Looks names up in the system's hosts file, which is read again once it has changed; without one, it has no names. */
export function hostsFile(path = '/etc/hosts'): (name: string) => string[] | undefined {
  let version = '';
  let names = new Map<string, string[]>();
  return (name) => {
    try {
      // Not asynchronous: that would wait for the threads that the system's own look-ups may hold.
      const { mtimeMs, size } = statSync(path);
      if (version !== `${mtimeMs} ${size}`) names = parse(readFileSync(path, 'utf8'));
      version = `${mtimeMs} ${size}`;
    } catch {
      names.clear();
      version = '';
    }
    return names.get(name);
  };
}

function parse(text: string): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const line of text.split('\n')) {
    const [address, ...names] = line.replace(/#.*/, '').trim().toLowerCase().split(/\s+/) as [string, ...string[]];
    if (isIP(address) === 0) continue;
    for (const name of names) found.set(name, [...(found.get(name) ?? []), address]);
  }
  return found;
}
