// Links the two viewers of a pair: same orbit around the same point, at the same scale. Turning
// or zooming one, by pointer or keyboard, moves the other; the buttons move both.
(() => {
  "use strict";

  const START = "30deg 70deg";

  function viewers(element) {
    return [...element.closest(".pair").querySelectorAll("model-viewer")];
  }

  // Events of a viewer do not bubble, but they pass the document on their way down.
  function listen(name, handle) {
    document.addEventListener(name, handle, true);
  }

  function frame(models) {
    const radius = Math.max(...models.map((model) => model.getCameraOrbit().radius));
    for (const model of models) {
      model.dataset.radius = `${radius}m`;
      model.minCameraOrbit = `auto 0deg ${0.3 * radius}m`;
      model.maxCameraOrbit = `auto 180deg ${2 * radius}m`;
      model.cameraTarget = "0m 0m 0m";
      model.cameraOrbit = `${START} ${radius}m`;
      model.fieldOfView = "30deg";
      model.jumpCameraToGoal();
    }
  }

  listen("load", (event) => {
    const model = event.target;
    if (model.localName !== "model-viewer") return;
    const stages = [...model.closest(".pair").querySelectorAll(".stage[data-mesh]")];
    const models = viewers(model);
    if (models.length === stages.length && models.every((other) => other.loaded)) frame(models);
  });

  listen("camera-change", (event) => {
    const leader = event.target;
    if (leader.localName !== "model-viewer" || event.detail.source !== "user-interaction") return;
    for (const model of viewers(leader)) {
      if (model === leader) continue;
      model.cameraOrbit = leader.getCameraOrbit().toString();
      model.cameraTarget = leader.getCameraTarget().toString();
      model.fieldOfView = `${leader.getFieldOfView()}deg`;
      model.jumpCameraToGoal();
    }
  });

  for (const button of document.querySelectorAll("[data-turn]")) {
    button.addEventListener("click", () => {
      for (const model of viewers(button)) {
        model.cameraTarget = "0m 0m 0m";
        model.cameraOrbit = `${button.dataset.turn} ${model.dataset.radius ?? "auto"}`;
      }
    });
  }
})();
