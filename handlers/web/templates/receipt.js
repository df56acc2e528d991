(() => {
document.documentElement.className = "js";
document.querySelector("#print").addEventListener("click", () => print());
})();
