import type { World, WorldOptions } from './world.ts';

/** How long a strike lasts, and what determines its timing. */
export type Strike = {
  holdMs: number;
  random: () => number;
  /** Whether machine-dependent results are judged too. */
  measured: boolean;
  /** Reports what was not as it should be. */
  untrue(what: string): void;
  /** Reports that the fault is about to be lifted, where that takes time; otherwise it ends with the strike. */
  lifts(): void;
};

/** How much memory may grow: to `factor` times what it was, plus `mib` MiB. */
export type Growth = { factor: number; mib: number };

export type Fault = {
  name: string;
  kind: 'processes' | 'Postgres' | 'network' | 'Neon' | 'receivers' | 'clients';
  /**
   * What is required of /ready meanwhile: that it stays 200; that it turns 503 within two seconds, until the fault is
   * over; or nothing.
   */
  ready: 'stays' | 'turns' | 'any';
  /** Whether a request may end without an answer, because a process dies. */
  drops?: boolean;
  /** Whether clients must notice nothing: every request is accepted. */
  unnoticed?: boolean;
  /** Whether clients may notice nothing; otherwise a strike in which nothing was refused has proved nothing. */
  harmless?: boolean;
  world?: WorldOptions;
  /** How much memory may have grown, if less than after any other fault. */
  mayGrow?: Growth;
  /** Milliseconds of load before the first strike, where a process that has just started is too small to compare with. */
  warmUpMs?: number;
  /** The minimum duration of a strike in milliseconds, where the run's own is too short. */
  holdMs?: number;
  /** Whether it is also in the short form, which runs with the suite. */
  short?: boolean;
  /** Why it cannot be tried on this machine. */
  impossible?: () => string | undefined;
  /** Begins the fault and ends it. */
  strike(world: World, strike: Strike): Promise<void>;
};
