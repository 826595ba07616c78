// Which runs of a text stand in it before: whoever writes a text often knows, and a compressor would have to search.

/** As far back as deflate can point. */
export const DISTANCE_MAX = 32_768;
/** Shorter runs cost more bits to point at than to say again. */
export const REPEAT_BYTES_MIN = 3;

/** A piece of 64 KiB has about so many samples. Short answers have none: there is no room until the first. */
const FIRST = 4096;
const NONE = new Uint32Array(0);

/** A list of runs of one piece of text, ascending, none overlapping the next. */
export class Repeats {
  /** Where run i begins in the piece, how long it is, and how far before it the same stands; maybe in the piece before. */
  places: Uint32Array = NONE;
  lengths: Uint32Array = NONE;
  distances: Uint16Array = new Uint16Array(0);
  count = 0;
  /** Bytes of the piece that stand in runs. */
  bytes = 0;
  #end = -1;

  /**
   * Notes that `length` bytes from `at` on are those from `at` − `distance` on. A run behind another one of the same distance makes that
   * longer; one that is too short by itself is passed over.
   */
  add(at: number, length: number, distance: number): void {
    const last = this.count - 1;
    if (at === this.#end && this.distances[last] === distance - 1) {
      this.lengths[last]! += length;
      this.bytes += length;
      this.#end += length;
      return;
    }
    if (length < REPEAT_BYTES_MIN || distance > DISTANCE_MAX) return;
    if (this.count === this.places.length) this.#grow();
    const index = this.count++;
    this.places[index] = at;
    this.lengths[index] = length;
    this.distances[index] = distance - 1;
    this.bytes += length;
    this.#end = at + length;
  }

  /** Distance of run i, 1 to DISTANCE_MAX. */
  distance(index: number): number {
    return this.distances[index]! + 1;
  }

  clear(): void {
    this.count = 0;
    this.bytes = 0;
    this.#end = -1;
  }

  #grow(): void {
    const size = Math.max(FIRST, this.places.length * 2);
    const places = new Uint32Array(size);
    places.set(this.places);
    this.places = places;
    const lengths = new Uint32Array(size);
    lengths.set(this.lengths);
    this.lengths = lengths;
    const distances = new Uint16Array(size);
    distances.set(this.distances);
    this.distances = distances;
  }
}
