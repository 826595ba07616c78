// A real browser for tests of the page: the system's own Chromium, told to call nobody.
import { type Browser, chromium } from 'playwright-core';
import { findProgram } from './programs.ts';

const ARGUMENTS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/** Starts it; the caller closes it. Ask `hasPrograms('chromium')` first. */
export function launchBrowser(): Promise<Browser> {
  return chromium.launch({ executablePath: findProgram('chromium')!, args: ARGUMENTS });
}
