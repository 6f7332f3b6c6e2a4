/** Waiters for something that no event reports by itself. */
export type Waiters = {
  /** Resolves with what `find` finds, now or after some change. */
  until<T>(find: () => T | false | undefined): Promise<T>;
  /** Reports that something has changed: every waiter looks again. */
  changed(): void;
};

export function waiters(): Waiters {
  const waiting = new Set<() => void>();
  return {
    until: (find) =>
      new Promise((resolve) => {
        const look = () => {
          const found = find();
          if (found === undefined || found === false) return void waiting.add(look);
          waiting.delete(look);
          resolve(found);
        };
        look();
      }),
    changed: () => {
      for (const look of waiting) look();
    },
  };
}
