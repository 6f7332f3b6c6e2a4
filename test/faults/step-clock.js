// Preloaded into a service: each SIGUSR2 moves its wall clock: an hour ahead, then an hour behind, then back.
const STEPS = [0, 3_600_000, -3_600_000];
let steps = 0;

const RealDate = Date;
const now = () => RealDate.now() + STEPS[steps % STEPS.length];

globalThis.Date = class extends RealDate {
  constructor(...values) {
    if (values.length === 0) super(now());
    else super(...values);
  }

  static now() {
    return now();
  }
};
process.on('SIGUSR2', () => {
  steps++;
});
