import type { Fault } from './fault.ts';
import { clientFaults } from './kinds/clients.ts';
import { neonFaults } from './kinds/neon.ts';
import { networkFaults } from './kinds/network.ts';
import { postgresFaults } from './kinds/postgres.ts';
import { processFaults } from './kinds/processes.ts';
import { receiverFaults } from './kinds/receivers.ts';

export const FAULTS: Fault[] = [
  ...processFaults,
  ...postgresFaults,
  ...networkFaults,
  ...neonFaults,
  ...receiverFaults,
  ...clientFaults,
];
