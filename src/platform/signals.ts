/** Copies of one signal come within this many milliseconds: a terminal or a supervisor tells the whole group, npm passes it on. */
const SAME_MS = 500;

type Heard = {
  /** Called with the name of the first signal. */
  first(signal: string): void;
  /** Called for each later one that is not a copy of the first. */
  second(): void;
};

export type Signals = {
  /** From now on these are called. */
  tell(heard: Heard): void;
};

/** Hears SIGTERM and SIGINT from now on; until told else, the first ends the process with exit 0, as nothing has begun. */
export function hearSignals(): Signals {
  let heard: Heard = { first: () => process.exit(0), second: () => process.exit(1) };
  let first: { signal: string; at: number } | undefined;

  // One listener for all: Deno hands the first signal on to a listener that was added while it was told.
  const onSignal = (signal: string) => {
    if (!first) {
      first = { signal, at: performance.now() };
      heard.first(signal);
    } else if (signal !== first.signal || performance.now() - first.at > SAME_MS) heard.second();
  };
  for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => onSignal(signal));

  return {
    tell: (next) => {
      heard = next;
    },
  };
}
