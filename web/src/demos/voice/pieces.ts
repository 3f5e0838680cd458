/** Cuts a stream of sound into pieces of one length, at a lower rate: each value is the mean of `ratio` values. */
export class Pieces {
  #ratio: number;
  #piece: Float32Array<ArrayBuffer>;
  #filled = 0;
  /** Of the value that is being made: the sum so far, and how many values it is of. */
  #sum = 0;
  #weight = 0;

  constructor(ratio: number, length: number) {
    this.#ratio = ratio;
    this.#piece = new Float32Array(length);
  }

  *take(values: Float32Array): Generator<Float32Array<ArrayBuffer>> {
    for (const value of values) {
      let rest = 1;
      // Rounding leaves a little: it is no value of its own.
      while (this.#weight + rest >= this.#ratio - 1e-9) {
        const share = this.#ratio - this.#weight;
        this.#piece[this.#filled++] = (this.#sum + share * value) / this.#ratio;
        rest -= share;
        this.#sum = 0;
        this.#weight = 0;
        if (this.#filled < this.#piece.length) continue;
        yield this.#piece;
        this.#piece = new Float32Array(this.#piece.length);
        this.#filled = 0;
      }
      this.#sum += rest * value;
      this.#weight += rest;
    }
  }
}
