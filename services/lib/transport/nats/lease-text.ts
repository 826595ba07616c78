// What a lease's key holds in NATS: its holder, and the fencing token. A holder's first entry gives its token by the entry's own revision, which
// nobody knows beforehand; later entries, whose revisions are greater, say it. Entries of earlier versions are a holder alone.

export interface HeldText {
  /** `member.<service>.<instance>`; no member's name has a space in it. */
  readonly holder: string;
  readonly token: number;
}

/**
 * The first entry of a holder: `HOLDER`, or `HOLDER +N` where the holder before had token N - 1, which may be greater than the revision
 * (tokens are raised after NATS was emptied). The token is the greater of N and the revision.
 */
export function acquiringText(holder: string, formerToken: number | undefined): string {
  return formerToken === undefined ? holder : `${holder} +${formerToken + 1}`;
}

/** Every further one: `HOLDER N`. */
export function renewingText(holder: string, token: number): string {
  return `${holder} ${token}`;
}

/** @param revision  Of the entry. */
export function readLease(text: string, revision: number): HeldText {
  const [holder = '', said] = text.split(' ', 2);
  const number = Number(said ?? 0);
  if (said === undefined || !Number.isSafeInteger(number) || number < 0) return { holder, token: revision };
  return { holder, token: said.startsWith('+') ? Math.max(number, revision) : number };
}
