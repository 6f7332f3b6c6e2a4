import type { World, WorldOptions } from './world.ts';

/** How long a strike lasts, and what chooses its moments. */
export type Strike = {
  holdMs: number;
  random: () => number;
  /** Whether what depends on the machine is judged too. */
  measured: boolean;
  /** Says what was not as it should be. */
  untrue(what: string): void;
  /** Says that the fault is about to be lifted, where that takes time; else it is over when the strike is. */
  lifts(): void;
};

/** By what memory may grow: to so many times what it was, and MiB more. */
export type Growth = { factor: number; mib: number };

export type Fault = {
  name: string;
  kind: 'processes' | 'Postgres' | 'network' | 'Neon' | 'receivers' | 'clients';
  /**
   * What /ready says meanwhile: it stays 200; it turns 503 within two seconds, until the fault is over; or nothing is
   * asked of it.
   */
  ready: 'stays' | 'turns' | 'any';
  /** Whether a request may end without an answer, because a process dies. */
  drops?: boolean;
  /** Whether no client need notice; otherwise a strike after which nothing was refused has shown nothing. */
  harmless?: boolean;
  world?: WorldOptions;
  /** What memory may have grown to, if less than after any other fault. */
  mayGrow?: Growth;
  /** Milliseconds that a strike lasts at least, where the run's own are too few. */
  holdMs?: number;
  /** In the short form too, which runs with the suite. */
  short?: boolean;
  /** Why it cannot be tried on this machine. */
  impossible?: () => string | undefined;
  /** Begins the fault and ends it. */
  strike(world: World, strike: Strike): Promise<void>;
};
