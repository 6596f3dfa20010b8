// The page's own behaviour: playheads over the pictures, comparing by ear, light or dark, and what
// is said when the server is gone.
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
    if (target.closest?.("#reload")) location.reload();
  });

  // Browsers report no audio type for a .bwf file or one without an extension, and gradio refuses
  // such files. The server inspects the content and reports what is not audio.
  const asSound = (list) => {
    const files = [...list];
    if (files.every(({ type }) => type.startsWith("audio/"))) return null;
    const sounds = new DataTransfer();
    for (const file of files) sounds.items.add(new File([file], file.name, { type: "audio/wav" }));
    return sounds;
  };
  const INPUT = "#clip-input input[type=file]";
  document.addEventListener("click", ({ target }) => {
    const narrow = target.matches?.(INPUT) && !target.accept.includes(".bwf");
    if (narrow) target.accept += ", .bwf, .rf64, .w64, .caf"; // which the dialog shows besides
  }, true);
  document.addEventListener("change", ({ target }) => {
    const sounds = target.matches?.(INPUT) && asSound(target.files);
    if (sounds) target.files = sounds.files;
  }, true);
  document.addEventListener("drop", (event) => {
    const sounds = event.target.closest?.("#clip-input") && asSound(event.dataTransfer?.files ?? []);
    if (!sounds) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    const again = { bubbles: true, cancelable: true, dataTransfer: sounds };
    event.target.dispatchEvent(new DragEvent("drop", again));
  }, true);

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

  // Gradio opens the stream of answers once. When it ends (the server was restarted, the network
  // was away, this machine slept), nothing that is asked later is ever answered.
  const LOOK_MS = 3000;
  let run; // of the server that this page came from
  let lost = false;
  const look = async () => {
    if (document.hidden) return;
    const health = await fetch("health", { cache: "no-store" })
      .then((answer) => answer.json(), () => null).catch(() => null);
    run ??= health?.run;
    lost ||= Boolean(health) && health.run !== run;
    const line = document.getElementById("lost");
    if (!line) return;
    line.hidden = Boolean(health) && !lost;
    line.querySelector("button").hidden = !health;
    line.querySelector("span").textContent = health
      ? "The connection to the server was lost. Reload the page to go on."
      : "The server does not answer.";
  };
  setInterval(look, LOOK_MS);
  document.addEventListener("visibilitychange", look);
  new PerformanceObserver((ended) => {
    if (!ended.getEntries().some(({ name }) => name.includes("/queue/data?"))) return;
    lost = true;
    look();
  }).observe({ type: "resource" });
  look();

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
