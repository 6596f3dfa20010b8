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
    if (address) copy(address);
  });

  // Browsers keep the clipboard from pages that came over plain HTTP from another machine.
  const select = (element) => {
    getSelection().selectAllChildren(element);
    return document.execCommand("copy");
  };
  const copy = async (address) => {
    address.textContent = address.dataset.address;
    const copied = await navigator.clipboard?.writeText(address.dataset.address)
      .then(() => true, () => false);
    if (!copied && !select(address)) return; // it is selected at least
    address.textContent = "copied";
    setTimeout(() => { address.textContent = address.dataset.address; }, 1200);
  };

  // HARP wants a port, and a name with three dots or else "localhost" anywhere in the address.
  const forHarp = ({ protocol, hostname, port, pathname }) => {
    const path = pathname.replace(/\/$/, "");
    if (hostname.endsWith(".hf.space")) return `${protocol}//${hostname}${path}`;
    const taken = hostname.split(".").length === 4 || hostname.includes("localhost");
    const written = port || (protocol === "https:" ? 443 : 80);
    return `${protocol}//${hostname}:${written}${path}${taken ? "" : "/#localhost"}`;
  };

  const settle = () => {
    const address = document.getElementById("address");
    if (!address) return false;
    address.dataset.address = forHarp(location);
    address.textContent = address.dataset.address;
    const kept = localStorage.getItem(KEEP);
    if (kept) document.body.classList.toggle("dark", kept === "dark");
    return true;
  };
  const waiting = setInterval(() => settle() && clearInterval(waiting), 100);
})();
