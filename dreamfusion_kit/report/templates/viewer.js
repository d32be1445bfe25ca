// Shows a mesh once its place comes near the screen; until then, and where that fails, its
// picture stands there. The mesh waits in the page as base64 and reaches the viewer as a blob.
(() => {
  "use strict";

  function blobFrom(id, type) {
    const base64 = document.getElementById(id).textContent.trim();
    const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
    return new Blob([bytes], { type });
  }

  function show(stage) {
    stage.dataset.state = "loading";
    const address = URL.createObjectURL(blobFrom(stage.dataset.mesh, "model/gltf-binary"));
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
    const pressed = stage.closest(".viewer").querySelector("[data-light][aria-pressed=true]");
    if (pressed?.dataset.light) settings["environment-image"] = environment(pressed.dataset.light);
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

  // One address for each light, for all viewers; its end tells the viewer the format.
  const environments = new Map();
  function environment(id) {
    if (!environments.has(id)) {
      const address = URL.createObjectURL(blobFrom(id, "image/vnd.radiance"));
      environments.set(id, `${address}#light.hdr`);
    }
    return environments.get(id);
  }

  function light(button) {
    const viewer = button.closest(".viewer");
    for (const other of viewer.querySelectorAll("[data-light]")) {
      other.setAttribute("aria-pressed", String(other === button));
    }
    const model = viewer.querySelector("model-viewer");
    if (!model) return; // it asks which light is pressed when it starts
    if (button.dataset.light) {
      model.setAttribute("environment-image", environment(button.dataset.light));
    } else {
      model.removeAttribute("environment-image");
    }
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
  for (const button of document.querySelectorAll("[data-light]")) {
    button.addEventListener("click", () => light(button));
  }
  document.documentElement.classList.add("with-script");
})();
