/** Dark or light: as the system has it until it is chosen. Not a module: those come too late. */
{
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const chosen = localStorage.getItem("stt-theme");
  if (chosen) root.dataset.theme = chosen;

  const show = () => {
    document.querySelector("#theme")?.setAttribute("aria-pressed", String(isDark()));
    root.dispatchEvent(new Event("themechange"));
  };
  system.addEventListener("change", show);
  addEventListener("DOMContentLoaded", () => {
    show();
    document.querySelector("#theme")?.addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      localStorage.setItem("stt-theme", root.dataset.theme);
      show();
    });
  });
}
