// Work that is shared out by name among the live processes of a service: scrape targets, rule groups. Each name has one
// process, the same for all who see the same members; a process more or less moves only what it gains or loses.
import { rankMembers } from './placement.ts';

/** Whether `instance` is the one among `live` for `key`. */
export function isOwner(instance: string, live: readonly string[], key: string): boolean {
  const members = live.map((each) => ({ instance: each, zone: '' }));
  return rankMembers(members, key)[0]?.instance === instance;
}
