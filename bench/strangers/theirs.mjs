// A Python script (theirs.py, or one like it) as a process that lives as long as the bench: one command after the other, each
// with a time limit.
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const own = fileURLToPath(new URL('theirs.py', import.meta.url));
const arrays = { float32: Float32Array, float64: Float64Array };

export class Theirs {
  #python;
  #limit;
  #script;
  #child;
  #waiting;
  #said = '';

  /** `limit`: seconds that a command may take; the process is ended then, and a new one made for the next. */
  constructor(python, limit, script = own) {
    this.#python = python;
    this.#limit = limit;
    this.#script = script;
  }

  #start() {
    const child = spawn(this.#python, [this.#script], { stdio: ['pipe', 'pipe', 'pipe'] });
    this.#child = child;
    this.#said = '';
    child.stderr.on('data', (data) => {
      this.#said = (this.#said + data).slice(-2000);
    });
    child.stdin.on('error', () => {}); // it ended; `close` says so
    createInterface({ input: child.stdout }).on('line', (line) => this.#answer(JSON.parse(line)));
    child.on('error', (error) => this.#ended(child, error.message));
    child.on('close', (code, signal) => {
      const last = this.#said.trim().split('\n').at(-1);
      this.#ended(child, `Python ended (${signal ?? code})${last ? `: ${last}` : ''}`);
    });
  }

  #ended(child, why) {
    if (this.#child !== child) return;
    this.#child = undefined;
    this.#answer({ error: why });
  }

  #answer(answer) {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting?.(answer);
  }

  /** Answers what the script answers; throws what it says is wrong. */
  async ask(command) {
    if (!this.#child) this.#start();
    const child = this.#child;
    let timer;
    const answer = await new Promise((resolve) => {
      this.#waiting = resolve;
      timer = setTimeout(() => {
        this.close();
        this.#answer({ error: `it took longer than ${this.#limit} s` });
      }, this.#limit * 1000);
      child.stdin.write(`${JSON.stringify(command)}\n`);
    });
    clearTimeout(timer);
    if (answer.error !== undefined) throw new Error(answer.error);
    return answer;
  }

  /** Outputs by name for each sample, as { data, dims }. `out`: a file to pass them in. */
  async run(model, samples, { out, ...how }) {
    const { runs } = await this.ask({ do: 'run', model, samples, out, ...how });
    const { buffer } = Uint8Array.from(readFileSync(out));
    return runs.map((outputs) =>
      Object.fromEntries(
        outputs.map(({ name, dims, at, array, length }) => [
          name,
          { data: new arrays[array](buffer, at, length), dims },
        ]),
      ),
    );
  }

  close() {
    const child = this.#child;
    this.#child = undefined;
    child?.kill('SIGKILL');
  }
}
