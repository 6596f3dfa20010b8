// The page's own behaviour: playheads over the pictures, comparing by ear, light or dark.
(() => {
  const KEEP = "vampnet-theme";
  const players = () => [...document.querySelectorAll(".deck audio")];

  const drawPlayhead = (audio) => {
    const head = audio.closest(".deck")?.querySelector(".playhead");
    if (!head || !audio.duration) return;
    head.style.left = `${(100 * audio.currentTime) / audio.duration}%`;
    head.style.opacity = audio.currentTime > 0 ? 1 : 0;
  };
  const follow = (audio) => {
    drawPlayhead(audio);
    if (!audio.paused && audio.isConnected) requestAnimationFrame(() => follow(audio));
  };

  // Media events do not bubble, but they can be caught on their way down.
  document.addEventListener("play", ({ target }) => {
    for (const other of players()) {
      if (other === target || other.paused) continue;
      other.pause(); // and go on from there in the other sound: so they can be compared
      if (other.currentTime < target.duration) target.currentTime = other.currentTime;
    }
    follow(target);
  }, true);
  for (const name of ["timeupdate", "seeked", "loadedmetadata"]) {
    document.addEventListener(name, ({ target }) => drawPlayhead(target), true);
  }

  document.addEventListener("click", ({ target, clientX }) => {
    const view = target.closest?.(".sound .view");
    const audio = view?.closest(".deck")?.querySelector("audio");
    if (audio?.duration) {
      const { left, width } = view.getBoundingClientRect();
      audio.currentTime = (audio.duration * (clientX - left)) / width;
      audio.play();
    }
    if (target.closest?.("#theme")) {
      const dark = document.body.classList.toggle("dark");
      localStorage.setItem(KEEP, dark ? "dark" : "light");
    }
    const address = target.closest?.("#address");
    if (address && navigator.clipboard) {
      navigator.clipboard.writeText(address.dataset.address);
      address.textContent = "copied";
      setTimeout(() => { address.textContent = address.dataset.address; }, 1200);
    }
  });

  const settle = () => {
    const address = document.getElementById("address");
    if (!address) return false;
    address.dataset.address = (location.origin + location.pathname).replace(/\/$/, "");
    address.textContent = address.dataset.address;
    const kept = localStorage.getItem(KEEP);
    if (kept) document.body.classList.toggle("dark", kept === "dark");
    return true;
  };
  const waiting = setInterval(() => settle() && clearInterval(waiting), 100);
})();
