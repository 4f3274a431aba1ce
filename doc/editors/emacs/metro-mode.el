;;; metro-mode.el --- Metro specifications -*- lexical-binding: t -*-

;; Version: 0.1.0
;; Package-Requires: ((emacs "28.1") (eglot "1.9"))

;;; Commentary:

;; Highlighting, and `mstore lsp' through Eglot.  Put this file on the `load-path' and add
;;   (require 'metro-mode)
;; to the init file.  `M-x eglot' starts the language server; to start it always:
;;   (add-hook 'metro-mode-hook #'eglot-ensure)

;;; Code:

(defgroup metro nil
  "Metro specifications."
  :group 'languages)

(defcustom metro-definitions nil
  "Definitions under which specifications are looked at, as an alist of strings.
Without any, those of a target that has the document are used."
  :type '(alist :key-type string :value-type string))

(defvar metro-mode-syntax-table
  (let ((table (make-syntax-table)))
    (modify-syntax-entry ?/ "_" table)
    (modify-syntax-entry ?- "_" table)
    (modify-syntax-entry ?\" "." table)
    table))

(defvar metro-font-lock-keywords
  '(("\\(?:^\\|[ \t]\\)\\(#.*\\)$" 1 font-lock-comment-face)
    ("^[ \t]*\\[\\(section\\|when\\|collect\\|option\\)\\_>" 1 font-lock-keyword-face)
    ("^[ \t]*\\[section[ \t]+\\([^] \t]+\\)" 1 font-lock-type-face)
    ("^[ \t]*\\[.*[ \t]\\(when\\|is\\|in\\)[ \t]" 1 font-lock-keyword-face)
    ("^[ \t]*\\([^][:# \t\n][^][: \t\n]*\\):[ \t]+\\[[ \t]*$" 1 font-lock-function-name-face)
    ("^[ \t]*\\([^][:# \t\n][^][: \t\n]*\\):\\(?:[ \t]\\|$\\)" 1 font-lock-variable-name-face)
    ("^[ \t]*\\$\\[\\[.*\\]\\][ \t]*$" 0 font-lock-preprocessor-face)
    ("\\$\\[[^][\n]*\\]" 0 font-lock-constant-face t)))

;;;###autoload
(define-derived-mode metro-mode prog-mode "Metro"
  "Major mode for Metro specifications."
  (setq-local comment-start "# ")
  (setq-local comment-start-skip "#+[ \t]*")
  (setq-local font-lock-defaults '(metro-font-lock-keywords t)))

(defun metro-is-specification ()
  "Whether the buffer's file lies in or below a folder with a metro.conf."
  (and buffer-file-name
       (string-match-p "\\.\\(?:conf\\|spec\\)\\'" buffer-file-name)
       (locate-dominating-file buffer-file-name "metro.conf")))

;;;###autoload
(add-to-list 'auto-mode-alist '("/metro\\.\\(?:conf\\|lock\\)\\'" . metro-mode))
;;;###autoload
(add-to-list 'magic-mode-alist '(metro-is-specification . metro-mode))

(defvar eglot-server-programs)

(defun metro-eglot-contact (&rest _)
  "The language server and its settings."
  (let ((definitions (make-hash-table :test #'equal)))
    (dolist (definition metro-definitions)
      (puthash (car definition) (cdr definition) definitions))
    (list "mstore" "lsp" :initializationOptions (list :definitions definitions))))

(with-eval-after-load 'eglot
  (add-to-list 'eglot-server-programs '(metro-mode . metro-eglot-contact)))

(provide 'metro-mode)
;;; metro-mode.el ends here
