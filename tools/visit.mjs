// Ways through the page, for tests and for those who take pictures of it.

/** Goes to a step of the work. */
export const goTo = (page, step) =>
  page
    .getByRole('navigation', { name: 'Steps' })
    .getByRole('link', { name: new RegExp(`^${step}`) })
    .click();

export const chooseGoal = (page, title) =>
  page
    .locator('.goal')
    .filter({ has: page.getByText(title, { exact: true }) })
    .click();

/**
 * The tasks of the page's own thread from now on: how long the longest one kept the processor, in milliseconds, and how many
 * kept it for more than 50. On a busy machine the clock would tell of other programs.
 */
export async function watchTasks(browser, page) {
  await browser.startTracing(page, { categories: ['toplevel', '__metadata'] });
  return async () => {
    const { traceEvents } = JSON.parse((await browser.stopTracing()).toString());
    const isPage = new Set(
      traceEvents
        .filter(({ name, args }) => name === 'thread_name' && args.name === 'CrRendererMain')
        .map(({ pid, tid }) => `${pid} ${tid}`),
    );
    const durations = traceEvents
      .filter(({ name, pid, tid }) => /RunTask$/.test(name) && isPage.has(`${pid} ${tid}`))
      .map(({ tdur = 0 }) => tdur / 1000);
    if (durations.length === 0) throw new Error('the trace has no tasks');
    return {
      longest: Math.max(...durations),
      count: durations.filter((each) => each > 50).length,
      durations,
    };
  };
}
