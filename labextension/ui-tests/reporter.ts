import type { Reporter, TestCase, TestResult } from '@playwright/test/reporter';

const MOST_CHARACTERS = 2000;

/** Says at the end what the panel showed where a test failed. */
export default class PanelReporter implements Reporter {
  private readonly seen: string[] = [];

  onTestEnd({ location }: TestCase, { attachments }: TestResult): void {
    const shown = attachments.find(({ name }) => name === 'panel')?.body?.toString();
    if (shown !== undefined) {
      this.seen.push(`the panel in ${location.file.split('/').at(-1)}:${location.line}: ${shown.slice(0, MOST_CHARACTERS)}`);
    }
  }

  onEnd(): void {
    this.seen.forEach(text => console.log(`  ${text}`));
  }
}
