import js from '@eslint/js';
import hooks from 'eslint-plugin-react-hooks';
import ts from 'typescript-eslint';

export default ts.config(
  { ignores: ['lib/**', 'node_modules/**', 'src/_wire.ts', 'ui-tests/test-results/**', 'ui-tests/playwright-report/**'] },
  js.configs.recommended,
  ...ts.configs.strictTypeChecked,
  ...ts.configs.stylisticTypeChecked,
  {
    languageOptions: { parserOptions: { project: './tsconfig.check.json', tsconfigRootDir: import.meta.dirname } },
    linterOptions: { noInlineConfig: true },
    plugins: { 'react-hooks': hooks },
    rules: {
      ...hooks.configs.recommended.rules,
      '@typescript-eslint/explicit-module-boundary-types': 'error',
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      '@typescript-eslint/no-namespace': 'off',
      'max-lines': ['error', 400],
      eqeqeq: ['error', 'always', { null: 'ignore' }]
    }
  },
  {
    // What is drawn in a notebook's output, too: neither JupyterLab nor React is there.
    files: ['src/charts/**'],
    rules: {
      '@typescript-eslint/no-restricted-imports': [
        'error',
        { patterns: [{ group: ['react', 'react-dom', '@jupyterlab/*', '@lumino/*'], allowTypeImports: true }] }
      ]
    }
  },
  { files: ['**/*.mjs', 'style/*.js'], ...ts.configs.disableTypeChecked }
);
