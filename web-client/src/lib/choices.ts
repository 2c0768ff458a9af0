// A group of choices as native radio buttons: the keyboard and screen readers know them already.

export interface Choice {
  id: string;
  label: string;
  detail?: string;
  image?: string;
}

export function fillChoices(root: HTMLElement, name: string, choices: Choice[], selected: string, onChoose: (id: string) => void): void {
  root.replaceChildren(
    ...choices.map((choice) => {
      const label = document.createElement("label");
      label.className = "choice";
      const input = document.createElement("input");
      input.type = "radio";
      input.name = name;
      input.value = choice.id;
      input.checked = choice.id === selected;
      input.addEventListener("change", () => onChoose(choice.id));
      label.append(input);
      if (choice.image) {
        const image = document.createElement("img");
        image.src = choice.image;
        image.alt = "";
        label.append(image);
      }
      const text = document.createElement("span");
      text.textContent = choice.label;
      label.append(text);
      if (choice.detail) {
        const detail = document.createElement("small");
        detail.textContent = choice.detail;
        label.append(detail);
      }
      return label;
    }),
  );
}

/** A file by choosing or dropping; the drop zone is a label around its input. */
export function fileDrop(zone: HTMLElement, onFile: (file: File) => void): void {
  const input = zone.querySelector<HTMLInputElement>("input[type=file]")!;
  input.addEventListener("change", () => {
    const file = input.files?.[0];
    input.value = "";
    if (file) onFile(file);
  });
  zone.addEventListener("dragover", (event) => {
    event.preventDefault();
    zone.classList.add("over");
  });
  zone.addEventListener("dragleave", () => zone.classList.remove("over"));
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    zone.classList.remove("over");
    const file = event.dataTransfer?.files[0];
    if (file) onFile(file);
  });
}
