// Shows a mesh once its place comes near the screen; until then, and where that fails, its
// picture stands there. The mesh waits in the page as base64 and reaches the viewer as a blob.
(() => {
  "use strict";

  function blobFrom(base64) {
    const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
    return new Blob([bytes], { type: "model/gltf-binary" });
  }

  function show(stage) {
    stage.dataset.state = "loading";
    const data = document.getElementById(stage.dataset.mesh);
    const address = URL.createObjectURL(blobFrom(data.textContent.trim()));
    const model = document.createElement("model-viewer");
    const settings = {
      src: address,
      alt: stage.dataset.alt,
      loading: "eager",
      "camera-controls": "",
      "camera-orbit": "30deg 70deg auto",
      "min-camera-orbit": "auto 0deg auto",
      "max-camera-orbit": "auto 180deg auto",
      "touch-action": "pan-y",
      "disable-zoom": "",
      "interaction-prompt": "none",
      "shadow-intensity": "0.6",
    };
    for (const [name, value] of Object.entries(settings)) model.setAttribute(name, value);
    const finish = (state) => {
      stage.dataset.state = state;
      URL.revokeObjectURL(address);
    };
    model.addEventListener("load", () => finish("ready"), { once: true });
    model.addEventListener("error", () => finish("failed"), { once: true });
    // The wheel scrolls the page, and zooms only a viewer that has been clicked or tabbed to.
    model.addEventListener("focusin", () => model.removeAttribute("disable-zoom"));
    model.addEventListener("focusout", () => model.setAttribute("disable-zoom", ""));
    stage.append(model);
  }

  function turn(button) {
    const model = button.closest(".viewer").querySelector("model-viewer");
    if (model) model.cameraOrbit = button.dataset.orbit;
  }

  const observer = new IntersectionObserver(
    (entries) => {
      for (const entry of entries.filter((entry) => entry.isIntersecting)) {
        observer.unobserve(entry.target);
        show(entry.target);
      }
    },
    { rootMargin: "300px" },
  );
  for (const stage of document.querySelectorAll(".stage")) observer.observe(stage);
  for (const button of document.querySelectorAll("[data-orbit]")) {
    button.addEventListener("click", () => turn(button));
  }
  document.documentElement.classList.add("with-script");
})();
