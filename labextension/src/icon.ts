import { LabIcon } from '@jupyterlab/ui-components';

import svg from '../style/icons/swangpu.svg';

export const gpuIcon = new LabIcon({ name: 'swangpu:gpu', svgstr: svg });
